# SPDX-License-Identifier: Apache-2.0
"""Which operators a request asks for: a classifier of several labels."""

from ldie.contract import System
from ldie.systems.edit_classifier.config import ClassifierConfig
from ldie.systems.edit_classifier.model import EditClassifier
from ldie.systems.edit_classifier.presets import PRESETS
from ldie.systems.edit_classifier.recipe import ClassifierRecipe
from ldie.tasks.editing.judges.labels import LabellingTask

SYSTEM = System("edit_classifier", LabellingTask(), EditClassifier, ClassifierRecipe, PRESETS)

__all__ = ["SYSTEM", "ClassifierConfig", "ClassifierRecipe", "EditClassifier"]
