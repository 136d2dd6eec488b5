# SPDX-License-Identifier: Apache-2.0
"""Pictures that do not answer a request, made from ones that do: what a discriminator has to tell from them.

The discriminator of T2ONet's authors that learns from one's own trajectories stayed at an accuracy of .5, and liked
black pictures best until random edits were among its negatives; hence all kinds below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from ldie.tasks.editing.dataset import EditDataset
from ldie.tasks.editing.metrics.request_metrics import NEGATIVE
from ldie.tasks.editing.replay import edited_batch
from ldie.tasks.editing.sample import EditSample
from ldie.tasks.editing.words.vocabulary import Vocabulary, tokenise
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

LEAST_DISTANCE = 0.01
"""Mean absolute difference of values from 0 to 1, where a request acts: what is nearer to the target may answer it."""
_TRIES = 4
_SAME = 0.05
"""Steps whose parameters are no further from each other do the same."""
_MARK = "#"
"""Between the key of a sample and the kind of its negative."""

Picture: TypeAlias = Callable[[EditSample, Sequence[EditOp], Generator], Tensor]
"""Makes of a sample with a target a picture uint8 [3, H, W] by the operators of its data set."""


def earlier(sample: EditSample, operators: Sequence[EditOp], rng: Generator) -> Tensor:
    """Only some of the steps are done, or none."""
    count = 0 if sample.steps is None else len(sample.steps)
    if sample.steps is None or count < 2:
        return sample.source
    kept = torch.from_numpy(rng.permutation(count) < rng.integers(count))
    return _edited(sample.source, sample.steps.ops[kept], sample.steps.params[kept], sample.region)


def amount(sample: EditSample, operators: Sequence[EditOp], rng: Generator) -> Tensor:
    """The change in another amount: too much, too little, or the other way round."""
    low, high = ((1.6, 2.5), (0.1, 0.5), (-1.0, -0.5))[rng.integers(3)]
    source = sample.source.float()
    return (source + rng.uniform(low, high) * (target_of(sample) - source)).round().clamp(0, 255).to(torch.uint8)


def random_edit(sample: EditSample, operators: Sequence[EditOp], rng: Generator) -> Tensor:
    """One or two random steps where the request acts: instead of all it asks for, or of some, or on top of it."""
    start = target_of(sample) if rng.integers(3) == 0 else earlier(sample, operators, rng)
    chosen = [operators[place] for place in rng.integers(len(operators), size=rng.integers(1, 3))]
    return _edited(start, torch.tensor(chosen), torch.stack([_random_row(op, rng) for op in chosen]), sample.region)


def _random_row(op: EditOp, rng: Generator) -> Tensor:
    """Parameters [24] within an operator's limits; small changes are more frequent."""
    known = EDIT_OPERATORS[op]
    limits = torch.tensor([known.low, known.high])[torch.from_numpy(rng.integers(2, size=known.parameters))]
    share = torch.from_numpy(rng.uniform(size=known.parameters)).float() ** 2
    return known.row(known.start + (limits - known.start) * share)


def black(sample: EditSample, operators: Sequence[EditOp], rng: Generator) -> Tensor:
    """Nothing is left."""
    return torch.zeros_like(sample.source)


def constant(sample: EditSample, operators: Sequence[EditOp], rng: Generator) -> Tensor:
    """One random colour everywhere."""
    colour = torch.from_numpy(rng.integers(0, 256, size=(3, 1, 1), dtype="uint8"))
    return colour.expand_as(sample.source).contiguous()


PICTURES: dict[str, Picture] = {
    "earlier": earlier,
    "amount": amount,
    "random_edit": random_edit,
    "black": black,
    "constant": constant,
}
"""Kinds of pictures that do not answer a request, by name."""
OTHER_REQUEST = "other_request"
"""The kind whose picture is right, but for another's request."""
KINDS = (*PICTURES, OTHER_REQUEST)


def negative_picture(kind: str, sample: EditSample, operators: Sequence[EditOp], rng: Generator) -> tuple[str, Tensor]:
    """A picture of a kind that is not the target: tried some times, a black one where that fails.

    Args:
        kind: One of :data:`PICTURES`.
        sample: With a target.
        operators: Those of the data, for random edits.
        rng: All that is random comes from it.

    Returns:
        Its kind, and the picture uint8 [3, H, W].
    """
    for _ in range(_TRIES):
        picture = PICTURES[kind](sample, operators, rng)
        if is_other(picture, sample):
            return kind, picture
    return "black", black(sample, operators, rng)


def is_other(picture: Tensor, sample: EditSample) -> bool:
    """Whether a picture is not nearly the sample's target, where its request acts or anywhere."""
    difference = (picture.float() - target_of(sample).float()).abs().mean(0) / 255
    inside = difference if sample.region is None or not sample.region.any() else difference[sample.region]
    return max(float(inside.mean()), float(difference.mean())) >= LEAST_DISTANCE


def asks_for_other(sample: EditSample, other: EditSample) -> bool:
    """Whether another's request asks for something else: in other words, and for other steps where both have some."""
    if set(tokenise(sample.request)) == set(tokenise(other.request)):
        return False
    if sample.steps is None or other.steps is None:
        return True
    ops, others = sample.steps.ops.sort(stable=True), other.steps.ops.sort(stable=True)
    if not torch.equal(ops.values, others.values):
        return True
    difference = (sample.steps.params[ops.indices] - other.steps.params[others.indices]).abs()
    return bool((difference > _SAME).any())


class WithNegatives:
    """A data set, and behind its samples as many negatives: each has another kind than the one before.

    The negatives depend on the data set alone, so that every evaluation sees the same.

    Args:
        dataset: With targets.
    """

    def __init__(self, dataset: EditDataset) -> None:
        self.dataset = dataset
        self.origin, self.operators = dataset.origin, dataset.operators

    def __len__(self) -> int:
        return 2 * len(self.dataset)

    def __getitem__(self, index: int) -> EditSample:
        """A sample as it is, or its negative, of the kind :data:`NEGATIVE`."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, got {index}")
        index %= len(self)
        number, is_negative = index % len(self.dataset), index >= len(self.dataset)
        sample = self.dataset[number]
        return self._negative(sample, number) if is_negative else sample

    def requests(self) -> list[str]:
        """All of them, without a picture being opened; those of negatives are the same or others'."""
        return list(self.dataset.requests()) * 2

    def vocabulary(self) -> Vocabulary:
        """The data set's."""
        return self.dataset.vocabulary()

    def _negative(self, sample: EditSample, number: int) -> EditSample:
        kind, rng = KINDS[number % len(KINDS)], default_rng(number)
        if kind == OTHER_REQUEST:
            request = self._other_request(sample, rng)
            if request is not None:
                return replace(sample, key=f"{sample.key}{_MARK}{kind}", request=request, kind=NEGATIVE)
            kind = "constant"
        kind, picture = negative_picture(kind, sample, [EditOp[name] for name in self.operators], rng)
        return replace(sample, key=f"{sample.key}{_MARK}{kind}", target=picture, steps=None, kind=NEGATIVE)

    def _other_request(self, sample: EditSample, rng: Generator) -> str | None:
        """One that the sample's target does not answer, if some tries find it."""
        for _ in range(_TRIES):
            other = self.dataset[int(rng.integers(len(self.dataset)))]
            if asks_for_other(sample, other):
                return other.request
        return None


def kind_of(sample: EditSample) -> str:
    """Which of :data:`KINDS` a negative of :class:`WithNegatives` is."""
    return sample.key.rpartition(_MARK)[2]


def target_of(sample: EditSample) -> Tensor:
    """The sample's target; where it has none, its source."""
    return sample.source if sample.target is None else sample.target


def _edited(source: Tensor, ops: Tensor, params: Tensor, region: Tensor | None) -> Tensor:
    return edited_batch(source[None], ops[None], params[None], None if region is None else region[None])[0]
