# SPDX-License-Identifier: Apache-2.0
"""Instance hypotheses of a batch, in slots of fixed number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Seeds(NamedTuple):
    """Where hypotheses were born: A slots of each of B images."""

    alive: Tensor
    """bool [B,A]: which slots are in use. What the others hold means nothing."""
    places: Tensor
    """float32 [B,A,2]: x and y in pixels of the network's input, the middle of a cell."""
    births: Tensor
    """int64 [B,A]: levels."""
    objects: Tensor
    """int64 [B,A]: in training the object of the batch that is learnt, -1 none."""


class Masks(NamedTuple):
    """What hypotheses have on a level."""

    logits: Tensor
    """float [B,A,O,h,w]: of the mask, one for each class with masks of classes; O is 1 otherwise."""
    states: Tensor | None
    """Second generation: [B,A,C,h,w]."""


class Hypotheses(NamedTuple):
    """Both of them, with the class that a hypothesis' mask is of."""

    seeds: Seeds
    masks: Masks

    def join(self, others: Hypotheses) -> Hypotheses:
        """The slots of both, those of the others after these."""
        seeds = Seeds(*(torch.cat(pair, 1) for pair in zip(self.seeds, others.seeds)))
        masks = (None if a is None or b is None else torch.cat([a, b], 1) for a, b in zip(self.masks, others.masks))
        return Hypotheses(seeds, Masks(*masks))

    def take(self, slots: Tensor) -> Hypotheses:
        """The slots of int64 [B,K]; -1: one that is not in use."""
        used, rows = slots >= 0, slots.clamp(min=0)
        seeds = Seeds(*(pick(field, rows) for field in self.seeds))
        masks = Masks(*(None if field is None else pick(field, rows) for field in self.masks))
        return Hypotheses(seeds._replace(alive=seeds.alive & used), masks)


def pick(field: Tensor, slots: Tensor) -> Tensor:
    """[B,A,...] -> [B,K,...] of slots int64 [B,K]."""
    images = torch.arange(field.shape[0], device=field.device)[:, None]
    return field[images, slots]


def cells(places: Tensor, stride: int, size: tuple[int, int] | torch.Size) -> Tensor:
    """int64 [...]: the cells y * w + x of places [...,2] on a map of that stride and size (h, w)."""
    x, y = (places / stride).floor().long().unbind(-1)
    return y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)


def at_places(maps: Tensor, places: Tensor, stride: int) -> Tensor:
    """[B,A]: the maps [B,A,h,w] at their places."""
    where = cells(places, stride, maps.shape[2:])
    return maps.flatten(2).gather(2, where[..., None])[..., 0]
