# SPDX-License-Identifier: Apache-2.0
"""Configurations of SOLO as others published it, to use their weights and to train alike, and those of the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ldie.config import DatasetConfig, merge
from ldie.durations import epochs
from ldie.nn.backbone import BackboneConfig
from ldie.systems.solo.config import (
    AssignConfig,
    HeadConfig,
    PostprocessConfig,
    SOLOConfig,
    SOLOModel,
    SOLOSolver,
)
from ldie.tasks.detection.whole_images import DataConfig, InputConfig

_SCHEDULES = {"1x": (12, (9, 11)), "3x": (36, (27, 33))}
"""Epochs in all, and those after which the learning rate falls."""


def _scheduled(config: SOLOConfig, name: str) -> SOLOConfig:
    total, decays = _SCHEDULES[name]
    solver = replace(config.solver, max_iter=epochs(total), lr_decay=tuple(map(epochs, decays)))
    return replace(config, solver=solver)


R50_1X = _scheduled(
    SOLOConfig(
        model=SOLOModel(head=HeadConfig(mask_prior=0.01)),
        solver=SOLOSolver(
            batch_size=16,
            warmup_iter=500,
            warmup_factor=1 / 3,
            save_step=epochs(1),
            num_workers=8,
            mask_targets="bilinear",
            assign=AssignConfig(order="given"),
            data=DataConfig(shorter_sides=(800,)),
        ),
        dataset=DatasetConfig(root="coco", aspect_grouping=True, drop_empty=True),
    ),
    "1x",
)
"""SOLO with ResNet-50 and feature pyramid as its authors and mmdetection have it, sixteen images a step; torchvision's
ResNet and its colours. The schedule is the authors'; mmdetection's falls after 8 and 11 epochs. There the factors of
norms learn after the first stage; here they are constants."""

R50_3X = _scheduled(
    replace(R50_1X, solver=replace(R50_1X.solver, data=DataConfig(shorter_sides=(640, 672, 704, 736, 768, 800)))), "3x"
)
"""The same network for 36 epochs, images in six sizes."""

_SEED = SOLOConfig(
    model=SOLOModel(
        backbone=BackboneConfig(stride_in_1x1=True),
        head=HeadConfig(category_kernel=1, category_per_level=True, align_corners=True),
    ),
    solver=replace(
        R50_1X.solver,
        gradient_clip=0.0,
        count_images=True,
        multi_scale_loss=False,
        mask_targets="nearest",
        dice_smooth=(1.0, 1.0),
        assign=AssignConfig(clamp=False, order="area", skip_empty=False),
    ),
    input=InputConfig(bgr=True, mean=(102.9801 / 255, 115.9465 / 255, 122.7717 / 255), std=(1 / 255, 1 / 255, 1 / 255)),
    dataset=R50_1X.dataset,
    test=PostprocessConfig(
        points_nms=0,
        score_thr=0.05,
        nms_pre=1000,
        min_area="none",
        maskness=False,
        nms="greedy",
        update_threshold=0.0,
        min_pixels=100,
    ),
)
"""A fork of an early copy of SOLO: masks of all levels are compared in a quarter of the image, and greedily suppressed.

Known: Caffe's ResNet-50 with its first stage and all norms constant, maps brought to strides 8, 8, 16, 32, 32, corners
aligned, a last layer of categories for each level, dice smoothed by 1, the thresholds. Taken from the code it was
forked from: means, no clipping of gradients, 100 objects. Assumed: probabilities of interpolated logits from the start,
plain SGD. Its suppression adds a pixel to intersection and union, and a place had its best category alone."""

_V2: Mapping[str, Any] = {"focal_alpha": 0.3, "focal_gamma": 2.2}
_AUG: Mapping[str, Any] = {"data": {"shorter_sides": (640, 672, 704, 736, 768, 800)}}

_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    # The name and that maps are matched to other strides are known; the rest is the common ground above.
    "match": {},
    # Known: the focal loss's parameters, which made no difference.
    "v2": {"solver": _V2},
    # Known: another convolution and a ReLU on the pyramid's maps; assumed: 3 x 3, shared, a ReLU after the map, too.
    "v3": {"model": {"fpn_convs": 1, "fpn_relu": True}},
    # Known: masks are compared in half of the image.
    "v4": {"solver": {"loss_stride": 2}},
    # Known: shorter sides of 640 to 800; assumed: the usual six.
    "aug": {"solver": _AUG},
    # Known: the name; assumed: v2 with these sizes.
    "augv2": {"solver": {**_V2, **_AUG}},
    # Known: more than 3 x 3 places of an object were a fault; assumed: this is where they are left out.
    "fixgt": {"solver": {"assign": {"clamp": True}}},
    # Known: the name; assumed: the published rule that objects without a pixel are not learnt, beside fixgt.
    "fixgt_v2": {"solver": {"assign": {"clamp": True, "skip_empty": True}}},
    # Known: Caffe's way with biases, twice the rate and no decay; assumed: of all layers that have one.
    "caffesgd": {"solver": {"sgd_style": "caffe"}},
    # Known: random scales; assumed: every size from 640 to 800.
    "randscale": {"solver": {"data": {"shorter_sides": tuple(range(640, 801))}}},
}
"""What is different in the seed's variants, by the names that it gives them."""

PRESETS = {
    "r50_1x": R50_1X,
    "r50_3x": R50_3X,
    **{
        f"seed_{name}_{schedule}": _scheduled(merge(_SEED, changes), schedule)
        for name, changes in _VARIANTS.items()
        for schedule in _SCHEDULES
    },
}
