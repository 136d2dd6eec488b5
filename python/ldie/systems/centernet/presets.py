# SPDX-License-Identifier: Apache-2.0
"""Named configurations of CenterNet."""

from __future__ import annotations

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
)

TINY = CenterNetConfig(
    model=CenterNetModel(
        extractor=ExtractorConfig(depth=1),
        detector=DetectorConfig(input_channel=32, widths=(32, 64, 96), blocks=1, head_channel=32),
        discriminator=DiscriminatorConfig(hidden_channel=32, blocks=2),
    ),
    solver=CenterNetSolver(
        batch_size=16,
        max_iter=900,
        lr_schedule="cosine",
        warmup_iter=30,
        detector=DetectorSolver(lr=2e-3, adv_loss_weight=0.02, init_train_iter=540),
        discriminator=DiscriminatorSolver(lr=2e-4, init_train_iter=45),
        data=DataConfig(heatmap_size=32, resize_range=(0.85, 1.18), color_jitter=0.2),
    ),
    input=InputConfig(max_size=128),
)
"""Minutes on two CPU cores: crops of 128, 64 and 32 pixels on a common map of 32 x 32 cells."""

PRESETS = {"tiny": TINY}
