# SPDX-License-Identifier: Apache-2.0
"""Named configurations of the mask pyramid."""

from __future__ import annotations

from dataclasses import replace

from ldie.nn.backbone import TINY_BACKBONE
from ldie.systems.mask_pyramid.config import (
    AssignConfig,
    GrowthConfig,
    LossConfig,
    MaskConfig,
    MaskPyramidConfig,
    MaskPyramidModel,
    MaskPyramidSolver,
    PostprocessConfig,
    ScoreConfig,
)
from ldie.tasks.detection.whole_images import DataConfig, InputConfig

TINY = MaskPyramidConfig(
    model=MaskPyramidModel(
        backbone=replace(TINY_BACKBONE, blocks=(1, 1, 1, 1), widths=(32, 64, 96, 96), pyramid_channel=48),
        start_stride=32,
        last_stride=4,
        mask=MaskConfig(state_channel=32, gauss_radius=1.5, offsets=True),
        growth=GrowthConfig(max_alive=(16, 12, 12, 12), newborns=(8, 4, 4), low_thresh=0.5, guide=True),
        score=ScoreConfig(hidden=64),
    ),
    solver=MaskPyramidSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=8,
        max_iter=2500,
        lr_schedule="cosine",
        warmup_iter=50,
        gradient_clip=10.0,
        loss=LossConfig(masks=("ce", "dice")),
        assign=AssignConfig(teach=True),
        ema_decay=0.998,
        data=DataConfig(shorter_sides=(104, 112, 120, 128), longest=256, color_jitter=0.3),
    ),
    input=InputConfig(shorter_side=128, longest=256),
    test=PostprocessConfig(score_thr=0.02, update_threshold=0.01),
)
"""Minutes on two CPU cores: masks of small images."""

PRESETS = {"tiny": TINY, "full": MaskPyramidConfig()}
