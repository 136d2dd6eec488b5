# SPDX-License-Identifier: Apache-2.0
"""What each place of the grids is to learn, and the masks to compare with, over the whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import ldie_ext
from ldie.systems.solo.config import SOLOConfig
from ldie.tasks.detection.batches import Batch


class LevelPositives(NamedTuple):
    """The n places of a level that learn an object, image by image."""

    counts: list[int]
    """Of each image."""
    places: Tensor
    """int64 [n], rows of the level's grid."""
    objects: Tensor
    """int64 [n], of the batch."""


@dataclass(frozen=True)
class Targets:
    """Of B images with G objects."""

    labels: Tensor
    """int64 [B,M]: the class of each place of all levels, one after the other; -1: background."""
    positives: list[LevelPositives]
    """By level."""
    masks: list[Tensor]
    """By level, of all objects: uint8 [G,h,ceil(w / 8)], 8 pixels a byte, or float32 [G,h,w], parts of cells."""
    widths: list[int]
    """By level: w."""


def make_targets(batch: Batch, config: SOLOConfig) -> Targets:
    """The targets of a batch, in the strides of the configuration's losses; waits for the device once."""
    solver, assign, head = config.solver, config.solver.assign, config.model.head
    size = (batch.images.shape[2], batch.images.shape[3])
    strides = sorted(set(config.loss_strides))
    pyramid = batch.masks.pyramid(strides, mode=solver.mask_targets, size=size)
    centers, areas = pyramid.centers, pyramid.areas
    pixels = batch.masks.pyramid([1], mode="nearest", size=size).levels[0] if assign.mask_cells else None
    labels, objects = ldie_ext.solo_assign(
        batch.boxes,
        batch.labels,
        centers,
        areas,
        batch.offsets,
        size,
        head.grids,
        assign.scale_ranges,
        sigma=assign.sigma,
        convention="official" if assign.skip_empty else "seed",
        clamp=assign.clamp,
        order=assign.order,
        masks=pixels,
        packed_width=None if pixels is None else size[1],
    )
    levels = dict(zip(strides, pyramid.levels))
    return Targets(
        labels,
        positives(objects, head.grids),
        [levels[stride] for stride in config.loss_strides],
        [-(-size[1] // stride) for stride in config.loss_strides],
    )


def positives(objects: Tensor, grids: tuple[int, ...]) -> list[LevelPositives]:
    """The places with an object, from the objects int64 [B,M] of all places (-1: none)."""
    levels = objects.split([grid**2 for grid in grids], 1)
    counts = torch.stack([(level >= 0).sum(1) for level in levels]).tolist()
    found = []
    for level, count in zip(levels, counts):
        image, place = torch.nonzero_static(level >= 0, size=sum(count)).unbind(1)
        found.append(LevelPositives(count, place, level[image, place]))
    return found
