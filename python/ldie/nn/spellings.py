# SPDX-License-Identifier: Apache-2.0
"""What weights to start from may be in: a model of ours or of others, or a backbone alone."""

from __future__ import annotations

from ldie.nn.pretrained import Spelling
from ldie.weights.rcnn import (
    CAFFE2_RESNET,
    DETECTRON2,
    DETECTRON2_RESNET,
    TORCHVISION,
    TORCHVISION_RESNET,
    with_statistics,
)
from ldie.weights.solo import MMDETECTION

SPELLINGS = (
    Spelling(DETECTRON2),
    Spelling(MMDETECTION),
    Spelling(TORCHVISION),
    Spelling(TORCHVISION_RESNET),
    Spelling(DETECTRON2_RESNET),
    Spelling(CAFFE2_RESNET, with_statistics),
)
"""Our backbone's names are detectron2's; of SOLO's files the head fits that system, of all others' backbone and pyramid
fit."""
