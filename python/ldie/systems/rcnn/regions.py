# SPDX-License-Identifier: Apache-2.0
"""Regions of a batch's images, one after the other in flat tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Regions:
    """R regions of B images to learn from; image b owns offsets[b]..offsets[b + 1].

    Their number is fixed where the host must not wait for the device, and some are then not in use.
    """

    boxes: Tensor  # float [R,4], pixels of the network's input
    offsets: Tensor  # int64 [B+1]
    labels: Tensor  # int64 [R], the number of classes for background
    rows: Tensor  # int64 [R], objects of the batch, their number for none
    used: Tensor  # bool [R]

    def foreground(self, classes: int, limit: int, *, exact: bool = False) -> Regions:
        """Those of objects.

        Args:
            classes: Number of classes.
            limit: Each image has at most so many, before all others.
            exact: As in :meth:`compact`, and with what that gave.
        """
        images = len(self.offsets) - 1
        objects = self.used & (self.labels < classes)
        if exact or _may_wait(objects):
            return self._select(objects)
        first = torch.arange(len(self.labels), device=self.boxes.device).view(images, -1)[:, :limit].reshape(-1)
        return self._take(first, torch.arange(images + 1, device=first.device) * limit, objects[first])

    def compact(self, *, exact: bool = False) -> Regions:
        """Those in use, where to leave out the others needs no waiting for the device.

        Args:
            exact: Wait, as statistics over regions need it.
        """
        return self._select(self.used) if exact or _may_wait(self.used) else self

    def _select(self, chosen: Tensor) -> Regions:
        index = chosen.nonzero().flatten()
        before = torch.cat([index.new_zeros(1), chosen.cumsum(0)])
        return self._take(index, before[self.offsets], chosen[index])

    def _take(self, index: Tensor, offsets: Tensor, used: Tensor) -> Regions:
        taken = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "offsets"}
        return Regions(**{**taken, "used": used}, offsets=offsets)


def _may_wait(values: Tensor) -> bool:
    """Whether the host has the values at once."""
    return values.device.type == "cpu"
