# SPDX-License-Identifier: Apache-2.0
"""Mask pyramid: instances grown coarse to fine, without boxes or anchors."""

from ldie.contract import System
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.model import MaskPyramid
from ldie.systems.mask_pyramid.presets import PRESETS
from ldie.systems.mask_pyramid.recipe import MaskPyramidRecipe
from ldie.tasks.detection import TASK

SYSTEM = System("mask_pyramid", TASK, MaskPyramid, MaskPyramidRecipe, PRESETS)

__all__ = ["SYSTEM", "MaskPyramid", "MaskPyramidConfig", "MaskPyramidRecipe"]
