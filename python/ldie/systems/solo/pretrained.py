# SPDX-License-Identifier: Apache-2.0
"""Weights to start from: a model of ours or of others, a backbone with its pyramid, or only a residual network."""

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
"""What a file may be in. Our backbone's names are detectron2's; of models other than SOLO backbone and pyramid fit."""
