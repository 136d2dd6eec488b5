# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from ldie.contract import Model


class WeightAverage:
    """A copy of a model whose weights follow it slowly; what is evaluated, saved and loaded in its place.

    After step n, counted from 0, ``average = d * average + (1 - d) * weights`` with d = min(decay, (1 + n) / (10 + n)):
    the start is soon forgotten. Buffers in floating point, such as the statistics of batch normalisation, are
    averaged like the weights that they belong to; all others are copied.

    Args:
        model: On its device.
        decay: Between 0 and 1.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def restart(self, model: Model) -> None:
        """Begins anew from the present weights."""
        self.updates = 0
        for average, value in zip(_tensors(self.model), _tensors(model)):
            average.copy_(value)

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Takes in the weights after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in zip(_tensors(self.model), _tensors(model)):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)


def _tensors(model: Model) -> Iterator[Tensor]:
    """Each once, also where modules share it."""
    return chain(model.parameters(), model.buffers())
