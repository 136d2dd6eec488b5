# SPDX-License-Identifier: Apache-2.0
"""Named configurations of Mask and Keypoint R-CNN."""

from __future__ import annotations

from dataclasses import replace

from ldie.systems.rcnn import presets_published
from ldie.systems.rcnn.config import (
    BackboneConfig,
    BoxHeadConfig,
    DataConfig,
    InputConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    PostprocessConfig,
    ProposalConfig,
    RCNNConfig,
    RCNNModel,
    RCNNSolver,
)

TINY = RCNNConfig(
    model=RCNNModel(
        convention="detectron2",
        sampling_ratio=2,
        canonical_scale=112,
        backbone=BackboneConfig(
            stem="conv3",
            stem_channel=16,
            block="basic",
            blocks=(1, 1, 1),
            widths=(32, 64, 96),
            normalization="batch",
            freeze_at=0,
            pyramid_channel=32,
        ),
        proposals=ProposalConfig(
            anchor_sizes=((12, 17), (24, 34), (48, 68), (96, 128)),
            anchor_ratios=(1.0,),
            anchor_offset=0.5,
            samples=64,
            pre_nms_train=200,
            pre_nms_test=200,
            post_nms_train=100,
            post_nms_test=100,
        ),
        box_head=BoxHeadConfig(channel=128, samples=32),
        mask_head=MaskHeadConfig(convs=2, channel=32),
        keypoint_head=KeypointHeadConfig(enabled=True, convs=2, channel=32),
    ),
    solver=RCNNSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=8,
        max_iter=1200,
        lr_schedule="cosine",
        warmup_iter=50,
        gradient_clip=10.0,
        data=DataConfig(shorter_sides=(112, 120, 128, 136, 144), longest=256, color_jitter=0.1),
    ),
    input=InputConfig(shorter_side=128, longest=256),
    test=PostprocessConfig(keypoint_scale=4),
)
"""Minutes on two CPU cores: boxes, masks and keypoints of small images."""

OVERFIT = replace(
    TINY,
    solver=replace(
        TINY.solver, max_iter=400, data=replace(TINY.solver.data, shorter_sides=(128,), mirror=0.0, color_jitter=0.0)
    ),
)
"""Learns a handful of images by heart: ``tiny`` without augmentation, to see that nothing is in the way of the data."""

PRESETS = {"tiny": TINY, "overfit": OVERFIT, **presets_published.PRESETS}
