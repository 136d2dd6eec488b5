# SPDX-License-Identifier: Apache-2.0
"""torchvision's Mask and Keypoint R-CNN with random weights that find objects, and files as it publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from systems.rcnn.published_files import OLD_NAMES
from systems.rcnn.sure import make_sure, observe, settle
from torch import Tensor, nn

MASK, MASK_V2, KEYPOINT = "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"
PRESETS = {MASK: "mask_r50", MASK_V2: "mask_r50_v2", KEYPOINT: "keypoint_r50"}
HOLES = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Category ids that nothing in COCO has; in published files their classes are as improbable as here."""


def photographs(root: Path) -> list[Tensor]:
    """uint8 [3,H,W]: one wide, one high, and one larger than networks get to see."""
    wide, high, large = (Image.open(root / "val2017" / f"{name:012d}.jpg").convert("RGB") for name in _IMAGES)
    large = large.resize((1600, 750), Image.Resampling.BICUBIC)
    return [torch.frombuffer(bytearray(x.tobytes()), dtype=torch.uint8).view(x.height, x.width, 3).permute(2, 0, 1)
            for x in (wide, high, large)]  # fmt: skip


_IMAGES = (5001, 6818, 418281)


def build(name: str, images: Sequence[Tensor], detections: int, **options: int) -> nn.Module:
    """One of its models; its norms have the statistics of the images.

    Args:
        name: Of its builder.
        images: uint8 [3,H,W].
        detections: So many times a proposal of each image at least is to be sure of a class.
        options: Of the builder.
    """
    from torchvision.models import detection

    torch.manual_seed(0)
    model: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, **options).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
    for path, layer in model.named_modules():
        if path.endswith("bn3"):  # blocks add little, as trained ones do; random ones would magnify every rounding
            nn.init.uniform_(layer.weight, 0.1, 0.2)
    run = partial(_follow, model, norms, images)
    model.roi_heads.score_thresh = 1.0  # masks and keypoints come later
    settle(model, _DEVIATIONS | (_OF_V2 if name == MASK_V2 else _OF_V1), run)
    seen = observe(model, [_CLASSES, _POOL], run)
    counts = [len(boxes) for boxes in seen[_POOL][0].inputs[1]]
    holes = HOLES if name != KEYPOINT else ()
    make_sure(model.get_submodule(_CLASSES), seen[_CLASSES][0].inputs[0].split(counts), detections, 0, holes)
    model.roi_heads.score_thresh = 0.05
    settle(model, {_LAST.get(name, "roi_heads.mask_predictor.mask_fcn_logits"): 2.0}, run)
    if name != MASK_V2:
        for norm in norms:
            norm.eps = 0.0  # as it does for the published weights
    return model


_CLASSES, _POOL = "roi_heads.box_predictor.cls_score", "roi_heads.box_roi_pool"
_DEVIATIONS = {"rpn.head.cls_logits": 2.0, "rpn.head.bbox_pred": 0.2, "roi_heads.box_predictor.bbox_pred": 1.0}
_OF_V1 = {
    **{f"backbone.fpn.layer_blocks.{level}.0": 1.0 for level in range(4)},
    "roi_heads.box_head.fc6": 1.0,
    "roi_heads.box_head.fc7": 1.0,
}
_OF_V2 = {"roi_heads.box_head.5": 1.0}
_LAST = {KEYPOINT: "roi_heads.keypoint_predictor.kps_score_lowres"}


@torch.no_grad()
def _follow(model: nn.Module, norms: Sequence[nn.BatchNorm2d], images: Sequence[Tensor]) -> None:
    """Gives norms the statistics of what they get to see."""
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model([image / 255 for image in images])
    for norm in norms:
        norm.eval()


def published(model: nn.Module, *, older: bool) -> dict[str, Tensor]:
    """The weights by the names that it has for them now, or by those of its older files, which have no counters."""
    weights = model.state_dict()
    if not older:
        return weights
    return {OLD_NAMES.get(key, key): x for key, x in weights.items() if not key.endswith("num_batches_tracked")}


@torch.no_grad()
def detect(model: nn.Module, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """What it finds in each image, on its own."""
    return [model([image / 255])[0] for image in images]
