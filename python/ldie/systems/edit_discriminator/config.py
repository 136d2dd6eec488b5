# SPDX-License-Identifier: Apache-2.0
"""Configuration of the discriminator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from ldie.config import LearningRate, ModelConfig, Positive, RunConfig, SolverConfig
from ldie.durations import Steps
from ldie.errors import ConfigError
from ldie.tasks.editing.data_config import JudgedDataConfig
from ldie.tasks.editing.reading import LanguageConfig


@dataclass(frozen=True)
class PairConfig:
    """How two pictures are seen."""

    size: Positive = 128
    """Height and width of the previews that are compared."""
    widths: tuple[Positive, ...] = (64, 128, 256, 512)
    """Channels of the convolutions, each of which halves the map."""
    code: Positive = 512
    """Width of the vector that a pair becomes."""


@dataclass(frozen=True)
class DiscriminatorModel(ModelConfig):
    """The networks."""

    language: LanguageConfig = field(default_factory=LanguageConfig)
    pair: PairConfig = field(default_factory=PairConfig)


@dataclass(frozen=True)
class DiscriminatorSolver(SolverConfig):
    """How the discriminator learns."""

    batch_size: Positive = 64
    """Requests; each comes with its target and ``negatives`` other pictures."""
    max_iter: Steps = 20_000
    lr: LearningRate = 1e-3
    negatives: Positive = 3
    """Pictures that do not answer, of each request; another's request for its target comes on top."""
    steps_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of naming the steps, where they are known, that lead to the target: what was done by what is seen of the pair,
    what was asked for by the request; 0: only answers are told from others."""
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm; 0: no clipping."""


@dataclass(frozen=True)
class DiscriminatorConfig(RunConfig):
    """Configuration of the system ``edit_discriminator``."""

    model: DiscriminatorModel = field(default_factory=DiscriminatorModel)
    solver: DiscriminatorSolver = field(default_factory=DiscriminatorSolver)
    dataset: JudgedDataConfig = field(default_factory=JudgedDataConfig)

    def check(self) -> None:
        """Raises a ConfigError for keys that do not fit together."""
        pair = self.model.pair
        if not pair.widths:
            raise ConfigError("model.pair.widths must have the channels of at least one convolution, got none")
        if pair.size < 2 ** len(pair.widths):
            raise ConfigError(f"model.pair.size is too small for {len(pair.widths)} convolutions, got {pair.size}")
