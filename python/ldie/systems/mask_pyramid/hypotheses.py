# SPDX-License-Identifier: Apache-2.0
"""Instance hypotheses of a batch, in slots of fixed number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Seeds(NamedTuple):
    """Where hypotheses were born: A slots of each of B images."""

    slots: Tensor
    """int64 [B,A]: not in use where negative; what such a slot holds means nothing."""
    births: Tensor
    """float32 [B,A,3]: x and y in pixels of the network's input, the middle of a cell; and the radius of the region, in
    pixels too."""
    objects: Tensor | None
    """In training int64 [B,A]: the object of the batch that is learnt, -1 none."""

    @property
    def alive(self) -> Tensor:
        """Bool [B,A]: which slots are in use."""
        return self.slots >= 0

    @property
    def places(self) -> Tensor:
        """float32 [B,A,2]: x and y."""
        return self.births[..., :2]

    @property
    def radii(self) -> Tensor:
        """float32 [B,A]."""
        return self.births[..., 2]

    def join(self, others: Seeds) -> Seeds:
        """The slots of both, those of the others after these."""
        objects = None
        if self.objects is not None and others.objects is not None:
            objects = torch.cat([self.objects, others.objects], 1)
        return Seeds(torch.cat([self.slots, others.slots], 1), torch.cat([self.births, others.births], 1), objects)


class Masks(NamedTuple):
    """What hypotheses have on a level."""

    logits: Tensor
    """float [B,A,h,w]: of their masks."""
    states: Tensor | None
    """Second generation: [B,A,h,w,C]."""


class Hypotheses(NamedTuple):
    """Both of them."""

    seeds: Seeds
    masks: Masks

    def take(self, images: Tensor, slots: Tensor) -> Hypotheses:
        """The slots of int64 [B,K]; -1: one that is not in use. ``images`` are the numbers 0, 1, ... [B,1]."""
        _, births, objects = self.seeds
        logits, states = self.masks
        births, logits = births[images, slots], logits[images, slots]
        objects = None if objects is None else objects[images, slots]
        states = None if states is None else states[images, slots]
        return Hypotheses(Seeds(slots, births, objects), Masks(logits, states))


def cells(places: Tensor, stride: int, size: tuple[int, int] | torch.Size) -> Tensor:
    """int64 [...]: the cells y * w + x of places [...,2] on a map of that stride and size (h, w)."""
    x, y = (places / stride).floor().long().unbind(-1)
    return y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)


def at_places(maps: Tensor, places: Tensor, stride: int) -> Tensor:
    """[B,A]: the maps [B,A,h,w] at their places."""
    where = cells(places, stride, maps.shape[2:])
    return maps.flatten(2).gather(2, where[..., None])[..., 0]
