# SPDX-License-Identifier: Apache-2.0
"""Named configurations of SOLO."""

from __future__ import annotations

from dataclasses import replace

from ldie.nn.backbone import TINY_BACKBONE
from ldie.systems.solo import presets_published
from ldie.systems.solo.config import (
    AssignConfig,
    HeadConfig,
    PostprocessConfig,
    SOLOConfig,
    SOLOModel,
    SOLOSolver,
)
from ldie.tasks.detection.whole_images import DataConfig, InputConfig

TINY = SOLOConfig(
    model=SOLOModel(
        backbone=replace(TINY_BACKBONE, pyramid_channel=48),
        head=HeadConfig(grids=(12,), strides=(4,), convs=4, channel=64, normalization="batch"),
    ),
    solver=SOLOSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=8,
        max_iter=3000,
        lr_schedule="cosine",
        warmup_iter=50,
        gradient_clip=10.0,
        multi_scale_loss=False,
        loss_stride=2,
        mask_targets="fraction",
        assign=AssignConfig(scale_ranges=((0, 1000),), sigma=0.4),
        data=DataConfig(shorter_sides=(104, 112, 120, 128), longest=256, color_jitter=0.3),
    ),
    input=InputConfig(shorter_side=128, longest=256),
    test=PostprocessConfig(points_nms=0, score_thr=0.02, update_threshold=0.01),
)
"""Minutes on two CPU cores: masks of small images. One level, as all objects are about as large; in training images are
at most as large as in evaluation, so that both fill the same frame, which places and coordinates are relative to."""

OVERFIT = replace(
    TINY,
    model=replace(TINY.model, head=replace(TINY.model.head, grids=(40,))),
    solver=replace(
        TINY.solver,
        max_iter=500,
        assign=replace(TINY.solver.assign, sigma=0.2),
        data=replace(TINY.solver.data, shorter_sides=(128,), mirror=0.0, color_jitter=0.0),
    ),
    input=replace(TINY.input, multiple=256),
    test=replace(TINY.test, min_area="none"),
)
"""Learns a handful of images by heart: ``tiny`` without augmentation, to see that nothing is in the way of the data.
Images of all shapes fill the same frame, with places enough for small neighbours."""

PRESETS = {"tiny": TINY, "overfit": OVERFIT, **presets_published.PRESETS}
