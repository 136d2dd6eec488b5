# SPDX-License-Identifier: Apache-2.0
"""Named configurations of Mask and Keypoint R-CNN."""

from __future__ import annotations

from dataclasses import replace

from ldie.config import DatasetConfig
from ldie.durations import epochs
from ldie.nn.backbone import TINY_BACKBONE
from ldie.systems.rcnn import presets_published
from ldie.systems.rcnn.config import (
    BoxHeadConfig,
    KeypointHeadConfig,
    LossConfig,
    MaskHeadConfig,
    PhaseConfig,
    PostprocessConfig,
    ProposalConfig,
    RCNNConfig,
    RCNNModel,
    RCNNSolver,
)
from ldie.tasks.detection.whole_images import DataConfig, InputConfig

TINY = RCNNConfig(
    model=RCNNModel(
        convention="detectron2",
        sampling_ratio=2,
        canonical_scale=112,
        backbone=TINY_BACKBONE,
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
        keypoint_head=KeypointHeadConfig(enabled=True, convs=3, channel=64),
    ),
    solver=RCNNSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=8,
        max_iter=800,
        lr_schedule="cosine",
        warmup_iter=50,
        gradient_clip=10.0,
        loss=LossConfig(keypoint=0.5),
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

SEED = RCNNConfig(
    model=RCNNModel(
        num_classes=1,
        convention="detectron2",
        proposals=ProposalConfig(anchor_offset=0.5, pre_nms_train=12_000, pre_nms_test=6000, post_nms_train=2000),
        box_head=BoxHeadConfig(samples=128, positive_fraction=0.5),
        mask_head=MaskHeadConfig(enabled=False),
    ),
    solver=RCNNSolver(
        batch_size=2,
        lr=5e-4,
        max_iter=epochs(4),
        save_step=epochs(1),
        log_step=100,
        num_workers=4,
        loss=LossConfig(proposal_box=10.0),
        data=DataConfig(shorter_sides=(800,)),
        phases=(
            PhaseConfig(length=epochs(1), train=("backbone", "proposal_generator")),
            PhaseConfig(lr_decay=(epochs(2),)),
        ),
    ),
    dataset=DatasetConfig(root="coco", categories=("person",), limit=30_000, drop_empty=True, aspect_grouping=True),
)
"""An exercise in writing it anew: persons only, two images a step on one GPU; proposals first, then everything.

Where its own code lost precision (weights of 1 for the offsets of regions) it has what is usual."""

PRESETS = {"tiny": TINY, "overfit": OVERFIT, **presets_published.PRESETS, "seed": SEED}
