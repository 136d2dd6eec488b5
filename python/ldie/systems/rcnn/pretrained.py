# SPDX-License-Identifier: Apache-2.0
"""Weights to start from: a model of ours or of others, or only a residual network."""

from __future__ import annotations

from ldie.nn.pretrained import Spelling
from ldie.systems.rcnn.published import torchvision_classes
from ldie.weights.rcnn import (
    CAFFE2_RESNET,
    DETECTRON2,
    DETECTRON2_RESNET,
    TORCHVISION,
    TORCHVISION_RESNET,
    TORCHVISION_V2,
    with_statistics,
)

SPELLINGS = (
    Spelling(DETECTRON2),
    Spelling(TORCHVISION, torchvision_classes),
    Spelling(TORCHVISION_V2, torchvision_classes),
    Spelling(TORCHVISION_RESNET),
    Spelling(DETECTRON2_RESNET),
    Spelling(CAFFE2_RESNET, with_statistics),
)
"""What a file may be in; ours is detectron2's."""
