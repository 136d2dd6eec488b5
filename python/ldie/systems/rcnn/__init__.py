# SPDX-License-Identifier: Apache-2.0
"""Mask and Keypoint R-CNN: proposals, then classes, boxes, masks and keypoints of each."""

from ldie.contract import System
from ldie.systems.rcnn.config import RCNNConfig
from ldie.systems.rcnn.model import RCNN
from ldie.systems.rcnn.presets import PRESETS
from ldie.systems.rcnn.published import PUBLISHED
from ldie.systems.rcnn.recipe import RCNNRecipe
from ldie.tasks.detection import TASK

SYSTEM = System("rcnn", TASK, RCNN, RCNNRecipe, PRESETS, published=PUBLISHED)

__all__ = ["RCNN", "SYSTEM", "RCNNConfig", "RCNNRecipe"]
