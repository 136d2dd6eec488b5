# SPDX-License-Identifier: Apache-2.0
"""Named configurations of CenterNet."""

from __future__ import annotations

from dataclasses import replace

from ldie.config import DatasetConfig
from ldie.systems.centernet.config import (
    CenterNetConfig,
    CenterNetModel,
    CenterNetSolver,
    DataConfig,
    DetectorConfig,
    DetectorSolver,
    DiscriminatorConfig,
    DiscriminatorSolver,
    ExtractorConfig,
    InputConfig,
    PostprocessConfig,
)

TINY = CenterNetConfig(
    model=CenterNetModel(
        extractor=ExtractorConfig(stem_stride=2, depth=1),
        detector=DetectorConfig(type="skip", input_channel=32, widths=(32, 64, 96), blocks=1, head_channel=32),
        discriminator=DiscriminatorConfig(hidden_channel=32, blocks=1),
    ),
    solver=CenterNetSolver(
        batch_size=8,
        max_iter=900,
        lr_schedule="cosine",
        contents_match=True,
        warmup_iter=30,
        detector=DetectorSolver(lr=2e-3, adv_loss_weight=0.02, init_train_iter=700),
        discriminator=DiscriminatorSolver(lr=2e-4, init_train_iter=40),
        data=DataConfig(heatmap_size=32, resize_range=(0.9, 1.11), color_jitter=0.1),
    ),
    input=InputConfig(max_size=128),
)
"""Minutes on two CPU cores: crops of 128, 64 and 32 pixels on a common map of 32 x 32 cells.

A step of the last phase takes half as long again as one of the first, hence few of them."""

OVERFIT = replace(
    TINY,
    solver=replace(
        TINY.solver,
        max_iter=400,
        detector=replace(TINY.solver.detector, init_train_iter=280),
        discriminator=replace(TINY.solver.discriminator, init_train_iter=20),
        data=replace(TINY.solver.data, resize_range=(1.0, 1.0), mirror=0.0, color_jitter=0.0),
    ),
    test=PostprocessConfig(nms_threshold=0.6),
)
"""Learns a handful of images by heart: ``tiny`` without augmentation, to see that nothing is in the way of the data."""

FULL = CenterNetConfig(
    solver=CenterNetSolver(
        batch_size=32,
        max_iter=900_000,
        lr_decay=(400_000, 800_000),
        sync_batchnorm=True,
        save_step=50_000,
        num_workers=8,
    ),
    input=InputConfig(bgr=True, mean=(0.408, 0.447, 0.470), std=(0.289, 0.274, 0.278)),
    test=PostprocessConfig(crop_multiple=16),
    seed=123,
)
"""The published size and schedule: crops of 512, 256 and 128 pixels on a common map of 128 x 128 cells, for GPUs."""

RESDCN18 = CenterNetConfig(
    model=CenterNetModel(
        down_ratios=(4,),
        valid_scale=(0,),
        extractor=ExtractorConfig(type="stem", activation="relu"),
        detector=DetectorConfig(activation="relu"),
        discriminator=DiscriminatorConfig(type="none"),
    ),
    solver=CenterNetSolver(
        batch_size=114,
        max_iter=144_000,
        lr_decay=(92_600, 123_400),
        sync_batchnorm=True,
        save_step=10_000,
        num_workers=16,
        data=DataConfig(box_threshold=(0.3,)),
    ),
    dataset=DatasetConfig(root="coco"),
    input=InputConfig(bgr=True, mean=(0.40789654, 0.44719302, 0.47026115), std=(0.28863828, 0.27408164, 0.27809835)),
    test=PostprocessConfig(nms=False, pad_multiple=32),
)
"""CenterNet as published (ctdet, ResNet-18 with deformable convolutions), to use its weights and to train on from them:
one scale, no discriminator, COCO; 140 epochs of it with the steps after 90 and 120."""

PRESETS = {"tiny": TINY, "overfit": OVERFIT, "full": FULL, "resdcn18": RESDCN18}
