# SPDX-License-Identifier: Apache-2.0
"""Weights to start from: a model of ours or of others, a backbone with its pyramid, or only a residual network."""

from __future__ import annotations

from ldie.nn.pretrained import Spelling
from ldie.weights.rcnn import DETECTRON2

SPELLINGS = (Spelling(DETECTRON2),)
