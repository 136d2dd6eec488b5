# SPDX-License-Identifier: Apache-2.0
"""What the recipes of systems that learn from whole images share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from numpy.random import Generator
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from ldie.contract import Recipe
from ldie.nn.pretrained import Spelling, start_from
from ldie.tasks.detection.sample import Sample
from ldie.tasks.detection.whole_images import WholeImages, WholeImageSolver


class WholeImageRecipe(Recipe):
    """Base of recipes with one optimizer, named as their system, and weights to start from."""

    name: ClassVar[str]
    """Of the optimizer."""
    spellings: ClassVar[Sequence[Spelling]]
    """What weights to start from may be in."""
    fixed_on_resume: ClassVar[tuple[str, ...]] = (
        "input",
        "solver.optimizer",
        "solver.pretrained",
        "solver.pretrained_parts",
    )

    optimizer: Optimizer
    """Of all that learns."""
    images: WholeImages
    """What makes training images of samples."""

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See :attr:`Recipe.optimizers`: one for all networks."""
        return {self.name: self.optimizer}

    def load_pretrained(self) -> None:
        """See :meth:`Recipe.load_pretrained`."""
        solver, frozen = self.config.solver, self.config.model.backbone.freeze_at
        start_from(self.model, solver.pretrained, self.spellings, solver.pretrained_parts, frozen)

    def transform(self, sample: Sample, rng: Generator) -> Sample:
        """See :meth:`Recipe.transform`."""
        return self.images(sample, rng)


def make_optimizer(groups: Sequence[nn.Parameter] | Sequence[dict[str, Any]], solver: WholeImageSolver) -> Optimizer:
    """Of parameters, or of groups of them with options of their own."""
    if solver.optimizer == "adamw":
        return AdamW(groups, solver.lr, weight_decay=solver.weight_decay)
    return SGD(groups, solver.lr, momentum=solver.momentum, weight_decay=solver.weight_decay)


def learnable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are no constants."""
    return [p for p in model.parameters() if p.requires_grad]
