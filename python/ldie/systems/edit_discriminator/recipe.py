# SPDX-License-Identifier: Apache-2.0
"""How the discriminator learns: from trajectories that lead to targets, and from what leads elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ldie.contract import Recipe, Runtime
from ldie.errors import DataError
from ldie.systems.edit_discriminator.config import DiscriminatorConfig
from ldie.systems.edit_discriminator.model import EditDiscriminator
from ldie.tasks.editing.dataset import check_requests
from ldie.tasks.editing.judges.negatives import asks_for_other, negative_picture, target_of
from ldie.tasks.editing.reading import load_word_vectors, padded, preview, small_region, stacked_regions
from ldie.tasks.editing.sample import EditSample
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

SHARES = {"earlier": 0.25, "amount": 0.25, "random_edit": 0.4, "black": 0.05, "constant": 0.05}
"""How often a negative is of a kind; those that look like a target are harder, so there are more of them."""


@dataclass(frozen=True)
class JudgedItem:
    """One request with pictures."""

    sample: EditSample
    """At the size of previews."""
    words: Tensor
    """int64 [W]."""
    pictures: Tensor
    """uint8 [1 + N, 3, S, S]: the target, and N that are not."""


@dataclass(frozen=True)
class JudgedBatch:
    """B requests with pictures."""

    sources: Tensor
    """uint8 [B, 3, S, S]."""
    pictures: Tensor
    """uint8 [B, 1 + N, 3, S, S]."""
    regions: Tensor | None
    """bool [B, S, S]; None: all are everywhere."""
    words: Tensor
    """int64 [B, W]."""
    others: Tensor
    """bool [B], whether the request before in the batch asks for something else."""
    known: Tensor
    """bool [B], whether the steps that lead to the target are known."""
    named: Tensor
    """float32 [B, operators], 1 for those of the steps."""
    amounts: Tensor
    """float32 [B, operators], how far the first parameter of each is from where it does nothing."""


class DiscriminatorRecipe(Recipe):
    """Binary cross entropy: targets against other pictures, and against the request before in the batch.

    Answers have as much weight as all that are none.
    """

    best_metric: ClassVar[str] = "discriminator/accuracy"
    fixed_on_resume: ClassVar[tuple[str, ...]] = ("model.language.glove",)

    def __init__(self, model: EditDiscriminator, config: DiscriminatorConfig, runtime: Runtime) -> None:
        self.model: EditDiscriminator = model
        self.config: DiscriminatorConfig = config
        self.runtime = runtime
        self._optimizer = Adam([p for p in model.parameters() if p.requires_grad], config.solver.lr)

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See :attr:`Recipe.optimizers`."""
        return {"discriminator": self._optimizer}

    def check_data(self, dataset: Any) -> None:
        """See :meth:`Recipe.check_data`."""
        check_requests(dataset)
        if dataset[0].target is None:
            raise DataError(f"{dataset.origin}: has no targets to tell from other pictures; give data with targets")
        if not dataset.operators:
            raise DataError(
                f"{dataset.origin}: names no operators to make other pictures with; plan steps first "
                "(docs/editing_data.md) and set dataset.plans"
            )

    def load_pretrained(self) -> None:
        """See :meth:`Recipe.load_pretrained`: word vectors."""
        load_word_vectors(self.model.language, self.config.model.language, self.model.vocabulary)

    def transform(self, sample: EditSample, rng: Generator) -> JudgedItem:
        """See :meth:`Recipe.transform`: the negatives are random."""
        model = self.config.model
        small = replace(
            sample,
            source=preview(sample.source, model.pair.size),
            target=preview(target_of(sample), model.pair.size),
            region=small_region(sample.region, model.pair.size),
        )
        kinds = rng.choice(list(SHARES), self.config.solver.negatives, p=list(SHARES.values()))
        negatives = [negative_picture(kind, small, self.model.operators, rng)[1] for kind in kinds]
        words = self.model.vocabulary.encode(sample.request, model.language.max_words).ids
        return JudgedItem(small, words, torch.stack([target_of(small), *negatives]))

    def collate(self, items: Sequence[JudgedItem]) -> JudgedBatch:
        """See :meth:`Recipe.collate`."""
        samples = [item.sample for item in items]
        named, amounts = zip(*(named_steps(sample, self.model.operators) for sample in samples), strict=True)
        return JudgedBatch(
            torch.stack([sample.source for sample in samples]),
            torch.stack([item.pictures for item in items]),
            stacked_regions([sample.region for sample in samples], samples[0].source.shape[1:]),
            padded([item.words for item in items]),
            torch.tensor([asks_for_other(sample, samples[row - 1]) for row, sample in enumerate(samples)]),
            torch.tensor([sample.steps is not None for sample in samples]),
            torch.stack(named),
            torch.stack(amounts),
        )

    def train_step(self, batch: JudgedBatch, step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        with self.runtime.autocast():
            done, asked = self._codes(batch)
            logits = self.model.comparison(done, asked[:, None]).float()
            others = self.model.comparison(done[:, 0], asked.roll(1, 0)).float()
            steps = self._steps_loss(done[:, 0], asked, batch)
        negatives = torch.cat([logits[:, 1:].flatten(), others])
        weights = torch.cat([torch.ones_like(logits[:, 1:]).flatten(), batch.others.to(others)])
        answered = nn.functional.softplus(-logits[:, 0]).mean()
        refused = (nn.functional.softplus(negatives) * weights).sum() / weights.sum()
        loss = (answered + refused) / 2 + self.config.solver.steps_weight * steps
        self.runtime.update(self._optimizer, loss, self.config.solver.gradient_clip)
        right = ((logits[:, 0] > 0).float().mean() + ((negatives <= 0) * weights).sum() / weights.sum()) / 2
        terms = {"answer_loss": answered, "negative_loss": refused, "steps_loss": steps, "accuracy": right}
        return {name: term.detach() for name, term in terms.items()}

    def _codes(self, batch: JudgedBatch) -> tuple[Tensor, Tensor]:
        """Of what was done [B, 1 + N, E], and of what was asked for [B, D]."""
        count, shown = batch.pictures.shape[:2]
        regions = None if batch.regions is None else batch.regions.repeat_interleave(shown, 0)
        sources = (batch.sources.float() / 255).repeat_interleave(shown, 0)
        done = self.model.see(sources, batch.pictures.flatten(0, 1).float() / 255, regions)
        return done.unflatten(0, (count, shown)), self.model.read(batch.words)

    def _steps_loss(self, done: Tensor, asked: Tensor, batch: JudgedBatch) -> Tensor:
        """Of naming the steps that lead to the target by either code; requests without known steps do not count."""
        truth = batch.named, batch.amounts, batch.known
        return self.model.done_steps.loss(done, *truth) + self.model.asked_steps.loss(asked, *truth)


def named_steps(sample: EditSample, operators: Sequence[EditOp]) -> tuple[Tensor, Tensor]:
    """Which operators [operators] a sample's steps have, and by how much each acts; zeros where none is known."""
    named, amounts = torch.zeros(len(operators)), torch.zeros(len(operators))
    if sample.steps is not None:
        for op, row in zip(sample.steps.ops.tolist(), sample.steps.params, strict=True):
            place = operators.index(EditOp(op))
            named[place] = 1
            amounts[place] = row[0] - EDIT_OPERATORS[EditOp(op)].start
    return named, amounts
