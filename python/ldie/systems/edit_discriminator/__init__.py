# SPDX-License-Identifier: Apache-2.0
"""Whether a picture answers a request: a discriminator, and edits planned on it."""

from ldie.contract import System
from ldie.systems.edit_discriminator.config import DiscriminatorConfig
from ldie.systems.edit_discriminator.model import EditDiscriminator
from ldie.systems.edit_discriminator.presets import PRESETS
from ldie.systems.edit_discriminator.recipe import DiscriminatorRecipe
from ldie.tasks.editing.judges.judging import JudgingTask

SYSTEM = System("edit_discriminator", JudgingTask(), EditDiscriminator, DiscriminatorRecipe, PRESETS)

__all__ = ["SYSTEM", "DiscriminatorConfig", "DiscriminatorRecipe", "EditDiscriminator"]
