# SPDX-License-Identifier: Apache-2.0
"""CenterNet over three image scales, trained against a masked discriminator of scales."""

from ldie.contract import System
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.model import CenterNet
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.published import RESDCN18
from ldie.systems.centernet.recipe import CenterNetRecipe
from ldie.tasks.detection import TASK

SYSTEM = System("centernet", TASK, CenterNet, CenterNetRecipe, PRESETS, published={"resdcn18": RESDCN18})

__all__ = ["SYSTEM", "CenterNet", "CenterNetConfig", "CenterNetRecipe"]
