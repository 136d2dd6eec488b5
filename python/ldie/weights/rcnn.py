# SPDX-License-Identifier: Apache-2.0
"""Mask and Keypoint R-CNN with ResNet-50 and FPN as others publish them, under detectron2's names, which are ours."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie.weights.names import NameTable

DETECTRON2 = NameTable(
    {"*": "*"}, dropped=("proposal_generator.anchor_generator.cell_anchors.*", "pixel_mean", "pixel_std")
)
"""detectron2's model zoo, by itself; constants that older files hold are dropped."""

RESNET = {
    "conv1.weight": "stem.conv1.weight",
    "bn1.*": "stem.conv1.norm.*",
    "layer<n>.<b>.conv<k>.weight": "res<n+1>.<b>.conv<k>.weight",
    "layer<n>.<b>.bn<k>.*": "res<n+1>.<b>.conv<k>.norm.*",
    "layer<n>.<b>.downsample.0.weight": "res<n+1>.<b>.shortcut.weight",
    "layer<n>.<b>.downsample.1.*": "res<n+1>.<b>.shortcut.norm.*",
}
"""From torchvision's names of a residual network's parts to detectron2's, for what others put before them."""
_BACKBONE = {f"backbone.body.{theirs}": f"backbone.bottom_up.{ours}" for theirs, ours in RESNET.items()}
_HEADS = {
    "backbone.fpn.inner_blocks.<i>.0.*": "backbone.fpn_lateral<i+2>.*",
    "backbone.fpn.layer_blocks.<i>.0.*": "backbone.fpn_output<i+2>.*",
    "rpn.head.cls_logits.*": "proposal_generator.rpn_head.objectness_logits.*",
    "rpn.head.bbox_pred.*": "proposal_generator.rpn_head.anchor_deltas.*",
    "roi_heads.box_predictor.*": "roi_heads.box_predictor.*",
    "roi_heads.keypoint_head.<2i>.*": "roi_heads.keypoint_head.conv_fcn<i+1>.*",
    "roi_heads.keypoint_predictor.kps_score_lowres.*": "roi_heads.keypoint_head.score_lowres.*",
    "roi_heads.mask_head.<i>.0.*": "roi_heads.mask_head.mask_fcn<i+1>.*",
    "roi_heads.mask_predictor.conv5_mask.*": "roi_heads.mask_head.deconv.*",
    "roi_heads.mask_predictor.mask_fcn_logits.*": "roi_heads.mask_head.predictor.*",
}
_NORMS = {  # before the heads', as what they are called there fits the patterns of these, too
    "backbone.fpn.inner_blocks.<i>.1.*": "backbone.fpn_lateral<i+2>.norm.*",
    "backbone.fpn.layer_blocks.<i>.1.*": "backbone.fpn_output<i+2>.norm.*",
    "roi_heads.box_head.<i>.1.*": "roi_heads.box_head.conv<i+1>.norm.*",
    "roi_heads.mask_head.<i>.1.*": "roi_heads.mask_head.mask_fcn<i+1>.norm.*",
}
_OLDER = {
    "backbone.fpn.inner_blocks.<i>": "backbone.fpn.inner_blocks.<i>.0",
    "backbone.fpn.layer_blocks.<i>": "backbone.fpn.layer_blocks.<i>.0",
    "rpn.head.conv": "rpn.head.conv.0.0",
    "roi_heads.mask_head.mask_fcn<i>": "roi_heads.mask_head.<i-1>.0",
}

TORCHVISION = NameTable(
    _BACKBONE
    | _HEADS
    | {
        "rpn.head.conv.0.0.*": "proposal_generator.rpn_head.conv.*",
        "roi_heads.box_head.fc<i>.*": "roi_heads.box_head.fc<i-5>.*",
    },
    older={f"{old}.{kind}": f"{new}.{kind}" for kind in ("weight", "bias") for old, new in _OLDER.items()},
)
"""torchvision's models of version 1 (``maskrcnn_resnet50_fpn``, ``keypointrcnn_resnet50_fpn``); the files that it
publishes have the older names."""

TORCHVISION_V2 = NameTable(
    _BACKBONE
    | _NORMS
    | _HEADS
    | {
        "rpn.head.conv.<k>.0.*": "proposal_generator.rpn_head.conv.conv<k>.*",
        "roi_heads.box_head.<i>.0.weight": "roi_heads.box_head.conv<i+1>.weight",
        "roi_heads.box_head.5.*": "roi_heads.box_head.fc1.*",
    }
)
"""torchvision's ``maskrcnn_resnet50_fpn_v2``: norms in pyramid and heads, two convolutions in the proposals' head."""

TORCHVISION_RESNET = NameTable(
    {theirs: f"backbone.bottom_up.{ours}" for theirs, ours in RESNET.items()}, dropped=("fc.*",)
)
"""torchvision's residual networks alone (``resnet50``), without their classes."""

DETECTRON2_RESNET = NameTable(
    {f"{part}.*": f"backbone.bottom_up.{part}.*" for part in ("stem", "res<n>")}, dropped=("stem.fc.*", "linear.*")
)
"""Residual networks alone as detectron2 names them (its ``R-50.pkl`` that was made of torchvision's)."""


def _caffe2() -> dict[str, str]:
    rules, norms = {"conv1_w": "stem.conv1.weight"}, {"res_conv1_bn": "stem.conv1.norm"}
    for branch, conv in {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}.items():
        rules[f"res<n>_<b>_branch{branch}_w"] = f"res<n>.<b>.{conv}.weight"
        norms[f"res<n>_<b>_branch{branch}_bn"] = f"res<n>.<b>.{conv}.norm"
    for short, part in {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}.items():
        rules |= {f"{theirs}_{short}": f"{ours}.{part}" for theirs, ours in norms.items()}
    return {theirs: f"backbone.bottom_up.{ours}" for theirs, ours in rules.items()}


CAFFE2_RESNET = NameTable(_caffe2(), dropped=("conv1_b", "fc1000_*", "pred_*", "*_momentum"))
"""Residual networks alone as Caffe2 names them (MSRA's ``R-50.pkl``); the bias of their first convolution has no
counterpart, in detectron2 neither."""


def with_statistics(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Norms that are published as factor and summand only, with the mean 0 and the variance 1 that these stand for.

    Given and returned under our names.
    """
    fills = {"running_mean": torch.zeros_like, "running_var": torch.ones_like}
    factors = {name.removesuffix("weight"): value for name, value in weights.items() if name.endswith(".norm.weight")}
    return {norm + part: fill(value) for norm, value in factors.items() for part, fill in fills.items()} | weights


def background_last(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's class outputs in our order: its background is the first class, ours the last of the scores.

    Boxes and masks have no outputs for a background here. Given and returned under our names.
    """

    def reordered(name: str, value: Tensor) -> Tensor:
        part = name.rpartition(".")[0]
        if part == "roi_heads.box_predictor.cls_score":
            return torch.roll(value, -1, 0)
        if part == "roi_heads.box_predictor.bbox_pred":
            return value[4:]
        return value[1:] if part == "roi_heads.mask_head.predictor" else value

    return {name: reordered(name, value) if value.ndim else value for name, value in weights.items()}
