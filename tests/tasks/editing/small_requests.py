"""Requests for small pictures whose answers are known, made in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.sample import EditSample, EditSequence
from ldie.tasks.editing.words.vocabulary import Vocabulary, build_vocabulary

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

WORDS = {"brighter": (EditOp.BRIGHTNESS, 0.4), "darker": (EditOp.BRIGHTNESS, -0.4), "pale": (EditOp.SATURATION, -0.7)}
REQUESTS = (*WORDS, *(f"{a} and {b}" for a, b in product(WORDS, WORDS) if WORDS[a][0] != WORDS[b][0]))
OPERATORS = ("BRIGHTNESS", "SATURATION")


def scene(seed: int, size: int = 16) -> torch.Tensor:
    """Coloured squares, neither black nor white: uint8 [3, S, S]."""
    generator = torch.Generator().manual_seed(seed)
    squares = torch.randint(60, 180, (3, 4, 4), generator=generator, dtype=torch.uint8)
    return squares.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)


def sequence(request: str) -> EditSequence:
    """The steps that a request of :data:`REQUESTS` asks for."""
    steps = [WORDS[word] for word in request.split() if word in WORDS]
    return EditSequence(
        torch.tensor([op for op, _ in steps]), torch.stack([EDIT_OPERATORS[op].row(p) for op, p in steps])
    )


def sample(request: str, seed: int = 0, region: torch.Tensor | None = None) -> EditSample:
    """A picture and what a request makes of it."""
    source, steps = scene(seed), sequence(request)
    names = frozenset(EditOp(op).name for op in steps.ops.tolist())
    return EditSample(f"s{seed}", source, request, replayed(source, steps, region), region, steps, names)


class SmallRequests:
    """A data set of them; every fifth acts in the left half only."""

    origin = "small requests"

    def __init__(self, count: int, operators: Sequence[str] = OPERATORS, first: int = 0) -> None:
        self.operators = tuple(operators)
        left = torch.zeros(16, 16, dtype=torch.bool)
        left[:, :8] = True
        self._samples = [
            sample(REQUESTS[seed % len(REQUESTS)], seed, left if seed % 5 == 4 else None)
            for seed in range(first, first + count)
        ]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> EditSample:
        return self._samples[index]

    def requests(self) -> list[str]:
        return [each.request for each in self._samples]

    def vocabulary(self) -> Vocabulary:
        return build_vocabulary(REQUESTS, min_count=1)
