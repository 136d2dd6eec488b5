# SPDX-License-Identifier: Apache-2.0
"""SOLO: objects by their places in grids, each place with a mask of the whole image (arXiv:1912.04488)."""

from ldie.contract import System
from ldie.systems.solo.config import SOLOConfig
from ldie.systems.solo.model import SOLO
from ldie.systems.solo.presets import PRESETS
from ldie.systems.solo.published import PUBLISHED
from ldie.systems.solo.recipe import SOLORecipe
from ldie.tasks.detection import TASK

SYSTEM = System("solo", TASK, SOLO, SOLORecipe, PRESETS, published=PUBLISHED)

__all__ = ["SOLO", "SYSTEM", "SOLOConfig", "SOLORecipe"]
