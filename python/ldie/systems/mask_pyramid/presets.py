# SPDX-License-Identifier: Apache-2.0
"""Named configurations of the mask pyramid."""

from __future__ import annotations

from dataclasses import replace

from ldie.config import DatasetConfig
from ldie.durations import epochs
from ldie.nn.backbone import TINY_BACKBONE, BackboneConfig
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
        mask=MaskConfig(state_channel=32, block="bottleneck", init_depth=2, gauss_radius=1.5, offsets=True),
        growth=GrowthConfig(max_alive=(16, 12, 12, 12), newborns=(8, 4, 4), low_thresh=0.5, guide=True),
        score=ScoreConfig(hidden=64),
    ),
    solver=MaskPyramidSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=8,
        max_iter=3000,
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

OVERFIT = replace(
    TINY,
    model=replace(
        TINY.model,
        growth=replace(TINY.model.growth, max_alive=(40, 24, 24, 20), newborns=(12, 8, 8), births="learnt"),
    ),
    solver=replace(
        TINY.solver,
        batch_size=4,
        max_iter=900,
        lr=3e-3,
        ema_decay=0.0,
        loss=replace(TINY.solver.loss, levels=(4.0,), births=0.3),
        data=replace(TINY.solver.data, shorter_sides=(192,), longest=384, mirror=0.0, color_jitter=0.0),
    ),
    input=replace(TINY.input, shorter_side=192, longest=384),
    test=replace(TINY.test, slots=2),
)
"""Learns a handful of images by heart: ``tiny`` without augmentation, to see that nothing is in the way of the data.
There is room for many small neighbours, and births in front of others' masks."""

R50_1X = MaskPyramidConfig(
    model=MaskPyramidModel(
        last_stride=8,
        growth=GrowthConfig(guide=True, low_thresh=0.5),
    ),
    solver=MaskPyramidSolver(
        batch_size=8,
        max_iter=epochs(12),
        lr_decay=tuple(map(epochs, (9, 11))),
        warmup_iter=500,
        warmup_factor=1 / 3,
        save_step=epochs(1),
        num_workers=8,
        loss=LossConfig(masks=("ce", "dice")),
        assign=AssignConfig(teach=True),
        data=DataConfig(shorter_sides=(800,)),
    ),
    dataset=DatasetConfig(root="coco", aspect_grouping=True, drop_empty=True),
)
"""What works on small images, on ResNet-50 and COCO; nobody has trained it."""

_SEED = MaskPyramidConfig(
    model=MaskPyramidModel(
        backbone=BackboneConfig(normalization="batch", freeze_at=0),
        last_stride=8,
        score=ScoreConfig(root_power=1.0),
    ),
    solver=MaskPyramidSolver(
        batch_size=4,
        max_iter=90_000,
        lr_decay=(60_000, 80_000),
        warmup_iter=500,
        warmup_factor=1 / 3,
        log_step=20,
        loss=LossConfig(targets="nearest", missed=1.0),
        data=DataConfig(shorter_sides=(800,)),
    ),
    dataset=DatasetConfig(root="coco", aspect_grouping=True, drop_empty=True),
)
SEED_V1 = replace(
    _SEED,
    model=replace(
        _SEED.model,
        mask=MaskConfig(generation=1, gauss_mode="onehot", normalization="batch", init_depth=0, refine_depth=0),
    ),
    solver=replace(_SEED.solver, loss=replace(_SEED.solver.loss, masks=("l1",))),
)
"""The seed's first versions: one convolution a level, mean differences, best three of a cell."""

SEED_V13 = replace(
    _SEED,
    model=replace(
        _SEED.model,
        mask=MaskConfig(state_channel=256, block="bottleneck", normalization="batch", init_depth=4),
        growth=GrowthConfig(low_thresh=0.02, min_spawn=8, topk_keep=2, coverage="softmax"),
    ),
)
"""Its later ones: hypotheses with 256 channels of their own, cross entropy, best two of a cell."""

PRESETS = {"tiny": TINY, "overfit": OVERFIT, "r50_1x": R50_1X, "seed_v1": SEED_V1, "seed_v13": SEED_V13}
