# SPDX-License-Identifier: Apache-2.0
"""Language to edits: a request becomes a sequence of parametric edits."""

from ldie.contract import System
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.model import Editor
from ldie.systems.editing.presets import PRESETS
from ldie.systems.editing.recipe import EditorRecipe
from ldie.tasks.editing import TASK

SYSTEM = System("editing", TASK, Editor, EditorRecipe, PRESETS)

__all__ = ["SYSTEM", "Editor", "EditorConfig", "EditorRecipe"]
