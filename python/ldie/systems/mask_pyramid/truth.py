# SPDX-License-Identifier: Apache-2.0
"""The objects of a batch on each level, and which of them a newborn hypothesis is to learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.systems.mask_pyramid.config import AssignConfig, MaskPyramidConfig
from ldie.systems.mask_pyramid.hypotheses import Seeds, cells
from ldie.tasks.detection.batches import Batch

_SUPPORTED = 2**40
"""More than any area."""
_NONE = 2**62


@dataclass(frozen=True)
class Truth:
    """G objects of B images, at most T in one."""

    objects: Tensor
    """int64 [B,T]: rows of the G objects; -1 beyond an image's own."""
    labels: Tensor
    """int64 [G]."""
    areas: Tensor
    """int64 [G], pixels."""
    scales: Tensor
    """float32 [G], roots of width times height."""
    covered: list[Tensor]
    """By level bool [G,h,w]: cells that are an object's by half their area, and the one that has most of it."""
    targets: list[Tensor]
    """By level float32 [G,h,w]: what masks are compared with."""

    def labels_of(self, objects: Tensor) -> Tensor:
        """int64, of the same shape: classes of objects; -1 where there is none."""
        return torch.cat([self.labels, self.labels.new_full((1,), -1)])[objects]

    def supported(self, seeds: Seeds) -> Tensor:
        """Bool [B,T]: which objects have a hypothesis."""
        assert seeds.objects is not None
        own = seeds.objects.where(seeds.alive, -1)
        return (self.objects[:, :, None] == own[:, None]).any(2) & (self.objects >= 0)

    def missed(self, seeds: Seeds, level: int, options: AssignConfig) -> Tensor:
        """Bool [B,T]: which objects have no hypothesis, and may have one that is born on a level."""
        return self.learnt_from(level, options) & ~self.supported(seeds)

    def fullest(self, chosen: Tensor, level: int) -> Tensor:
        """Bool [B,h,w]: the cells of a level that have most of each of the objects ``chosen`` bool [B,T]."""
        cell = self.targets[level].flatten(1).argmax(1)[self.objects.clamp(min=0)]
        height, width = self.targets[level].shape[1:]
        counts = torch.zeros((len(chosen), height * width), device=chosen.device)
        return (counts.scatter_add_(1, cell, chosen.float()) > 0).unflatten(1, (height, width))

    def learnt_from(self, level: int, options: AssignConfig) -> Tensor:
        """Bool [B,T]: which objects are of a size that hypotheses born on a level learn."""
        there = self.objects >= 0
        if not options.size_ranges:
            return there
        low, high = options.size_ranges[level]
        scales = torch.cat([self.scales, self.scales.new_full((1,), -1.0)])[self.objects]
        return there & (scales >= low) & (scales <= high)


def make_truth(batch: Batch, config: MaskPyramidConfig) -> Truth:
    """The truth of a batch."""
    strides = config.model.strides[::-1]
    size = (batch.images.shape[2], batch.images.shape[3])
    area = batch.masks.pyramid(strides, mode="area", size=size, packed=False)
    mode = config.solver.loss.targets
    targets = area if mode == "area" else batch.masks.pyramid(strides, mode=mode, size=size, packed=False)
    width, height = (batch.boxes[:, 2:] - batch.boxes[:, :2]).unbind(1)
    return Truth(
        batch.slots.where(batch.slots < len(batch.labels), -1),
        batch.labels,
        area.areas,
        (width * height).sqrt(),
        list(area.levels[::-1]),
        [level.float() for level in targets.levels[::-1]],
    )


def assign(
    places: Tensor, alive: Tensor, level: int, seeds: Seeds | None, truth: Truth, config: MaskPyramidConfig
) -> Tensor:
    """int64 [B,Q]: what hypotheses learn that are born at places [B,Q,2] of a level; -1: nothing.

    Of the objects that have the place's cell: one that no hypothesis of ``seeds`` has before one that has some, then
    the smaller, then the earlier.
    """
    stride, covered = config.model.strides[level], truth.covered[level]
    objects = truth.objects
    if not objects.shape[1]:
        return alive.new_full(alive.shape, -1, dtype=torch.int64)
    rows = objects.clamp(min=0)
    where = cells(places, stride, covered.shape[1:])
    hit = covered.flatten(1)[rows[:, :, None], where[:, None]] & alive[:, None]  # [B,T,Q]
    hit &= truth.learnt_from(level, config.solver.assign)[:, :, None]
    keys = truth.areas[rows]
    if seeds is not None:
        keys = keys + truth.supported(seeds) * _SUPPORTED
    best, row = keys[:, :, None].where(hit, _NONE).min(1)
    return objects.gather(1, row).where(best < _NONE, -1)
