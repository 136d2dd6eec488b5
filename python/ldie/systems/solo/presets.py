# SPDX-License-Identifier: Apache-2.0
"""Named configurations of SOLO."""

from __future__ import annotations

from dataclasses import replace

from ldie.nn.backbone import BackboneConfig
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
        backbone=BackboneConfig(
            stem="conv3",
            stem_channel=16,
            block="basic",
            blocks=(1, 1, 1),
            widths=(32, 64, 96),
            normalization="batch",
            freeze_at=0,
            pyramid_channel=48,
        ),
        head=HeadConfig(grids=(16, 12), strides=(4, 8), convs=3, channel=48),
    ),
    solver=SOLOSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=8,
        max_iter=1000,
        lr_schedule="cosine",
        warmup_iter=50,
        gradient_clip=10.0,
        multi_scale_loss=False,
        loss_stride=2,
        mask_targets="fraction",
        assign=AssignConfig(scale_ranges=((0, 40), (28, 1000))),
        data=DataConfig(shorter_sides=(112, 120, 128, 136, 144), longest=256, color_jitter=0.1),
    ),
    input=InputConfig(shorter_side=128, longest=256),
    test=PostprocessConfig(points_nms=2),
)
"""Minutes on two CPU cores: masks of small images."""

OVERFIT = replace(
    TINY,
    solver=replace(
        TINY.solver, max_iter=400, data=replace(TINY.solver.data, shorter_sides=(128,), mirror=0.0, color_jitter=0.0)
    ),
)
"""Learns a handful of images by heart: ``tiny`` without augmentation, to see that nothing is in the way of the data."""

PRESETS = {"tiny": TINY, "overfit": OVERFIT, **presets_published.PRESETS}
