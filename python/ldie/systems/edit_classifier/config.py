# SPDX-License-Identifier: Apache-2.0
"""Configuration of the classifier of requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from ldie.config import LearningRate, ModelConfig, Positive, RunConfig, SolverConfig
from ldie.durations import Steps
from ldie.tasks.editing.data_config import EditDataConfig
from ldie.tasks.editing.reading import ImageConfig, LanguageConfig, check_senses


@dataclass(frozen=True)
class ClassifierModel(ModelConfig):
    """The networks."""

    language: LanguageConfig = field(default_factory=LanguageConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    hidden: Positive = 512
    """Width of the layer between the codes and the labels."""


@dataclass(frozen=True)
class ClassifierSolver(SolverConfig):
    """How the classifier learns."""

    batch_size: Positive = 64
    max_iter: Steps = 10_000
    lr: LearningRate = 1e-3
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm; 0: no clipping."""


@dataclass(frozen=True)
class ClassifierConfig(RunConfig):
    """Configuration of the system ``edit_classifier``."""

    model: ClassifierModel = field(default_factory=ClassifierModel)
    solver: ClassifierSolver = field(default_factory=ClassifierSolver)
    dataset: EditDataConfig = field(default_factory=EditDataConfig)

    def check(self) -> None:
        """Raises a ConfigError for keys that do not fit together."""
        check_senses(self.model.language, self.model.image)
