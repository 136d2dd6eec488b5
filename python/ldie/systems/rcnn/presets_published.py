# SPDX-License-Identifier: Apache-2.0
"""Configurations of Mask and Keypoint R-CNN as others published them, to use their weights and to train alike."""

from __future__ import annotations

from dataclasses import replace

from ldie.config import DatasetConfig
from ldie.durations import epochs
from ldie.nn.backbone import BackboneConfig
from ldie.systems.rcnn.config import (
    BoxHeadConfig,
    KeypointHeadConfig,
    LossConfig,
    MaskHeadConfig,
    ProposalConfig,
    RCNNConfig,
    RCNNModel,
    RCNNSolver,
)
from ldie.tasks.detection.whole_images import InputConfig

_BETA = 1 / 9
"""Where torchvision's losses of boxes turn linear."""


MASK_R50 = RCNNConfig(
    model=RCNNModel(backbone=BackboneConfig(frozen_eps=0.0), proposals=ProposalConfig(post_nms_train=2000)),
    solver=RCNNSolver(
        batch_size=16,
        max_iter=epochs(26),
        lr_decay=(epochs(16), epochs(22)),
        warmup_iter=1000,
        warmup_factor=1e-3,
        save_step=5000,
        num_workers=8,
        loss=LossConfig(proposal_beta=_BETA, box_beta=_BETA),
    ),
    dataset=DatasetConfig(root="coco", aspect_grouping=True, drop_empty=True),
)
"""Torchvision's ``maskrcnn_resnet50_fpn``: ResNet-50 with a feature pyramid, its schedule, sixteen images a step."""

MASK_R50_V2 = replace(
    MASK_R50,
    model=RCNNModel(
        backbone=BackboneConfig(normalization="batch", pyramid_norm="batch"),
        proposals=ProposalConfig(depth=2, post_nms_train=2000),
        box_head=BoxHeadConfig(convs=4, linears=1, normalization="batch"),
        mask_head=MaskHeadConfig(normalization="batch"),
    ),
    solver=replace(MASK_R50.solver, sync_batchnorm=True),
)
"""Torchvision's ``maskrcnn_resnet50_fpn_v2``: batch norm in all parts, deeper heads. The schedule is that of
``mask_r50``; the published weights had 400 epochs of larger changes of scale."""

KEYPOINT_R50 = replace(
    MASK_R50,
    model=replace(
        MASK_R50.model,
        num_classes=1,
        mask_head=MaskHeadConfig(enabled=False),
        keypoint_head=KeypointHeadConfig(enabled=True),
    ),
    solver=replace(
        MASK_R50.solver,
        max_iter=epochs(46),
        lr_decay=(epochs(36), epochs(43)),
    ),
    dataset=replace(MASK_R50.dataset, categories=("person",)),
)
"""Torchvision's ``keypointrcnn_resnet50_fpn``: persons and their keypoints."""

MASK_R50_DETECTRON2 = replace(
    MASK_R50,
    model=RCNNModel(convention="detectron2", backbone=BackboneConfig(stride_in_1x1=True)),
    solver=replace(MASK_R50.solver, max_iter=270_000, lr_decay=(210_000, 250_000), loss=LossConfig()),
    input=InputConfig(
        bgr=True,
        mean=(103.53 / 255, 116.28 / 255, 123.675 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
    ),
)
"""Detectron2's ``mask_rcnn_R_50_FPN_3x``, which starts from MSRA's ResNet-50 (``solver.pretrained``): stride in the
1 x 1 convolutions, pixel values of 0 to 255 in the order blue, green, red."""

KEYPOINT_R50_DETECTRON2 = replace(
    MASK_R50_DETECTRON2,
    model=replace(
        MASK_R50_DETECTRON2.model,
        num_classes=1,
        proposals=ProposalConfig(post_nms_train=1500),
        mask_head=MaskHeadConfig(enabled=False),
        keypoint_head=KeypointHeadConfig(enabled=True),
    ),
    solver=replace(MASK_R50_DETECTRON2.solver, loss=LossConfig(box_beta=0.5)),
    dataset=replace(MASK_R50.dataset, categories=("person",)),
)
"""Detectron2's ``keypoint_rcnn_R_50_FPN_3x``: persons and their keypoints."""

PRESETS = {
    "mask_r50": MASK_R50,
    "mask_r50_v2": MASK_R50_V2,
    "keypoint_r50": KEYPOINT_R50,
    "mask_r50_detectron2": MASK_R50_DETECTRON2,
    "keypoint_r50_detectron2": KEYPOINT_R50_DETECTRON2,
}
