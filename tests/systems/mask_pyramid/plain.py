# SPDX-License-Identifier: Apache-2.0
"""The growth of a pyramid by the seed's seven steps: a loop over images, hypotheses, cells and objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.hypotheses import Seeds
from ldie.systems.mask_pyramid.truth import Truth
from torch import Tensor

Cell = tuple[int, int, int]
"""Level, row, column."""


@dataclass
class Hypothesis:
    born: Cell
    target: int
    logits: Tensor
    """[h,w] of the present level."""


@dataclass
class Step:
    """An image's level after its growth."""

    born: int
    """How many for it, on the level before."""
    alive: list[Hypothesis]


def grow(image: int, masks: RandomMasks, size: tuple[int, int], truth: Truth, config: MaskPyramidConfig) -> list[Step]:
    """All levels of an image of so many pixels."""

    def newborns(level: int, places: list[tuple[int, int]], alive: list[Hypothesis]) -> list[Hypothesis]:
        own = {each.target for each in alive}
        nothing = torch.zeros(())
        return [Hypothesis((level, y, x), target(level, y, x, image, own, truth, config), nothing) for y, x in places]

    insides = [[-(-side // stride) for side in size] for stride in config.model.strides]
    cells = [(y, x) for y in range(insides[0][0]) for x in range(insides[0][1])]
    new, alive, steps = newborns(0, cells, []), [], []
    for level, inside in enumerate(insides):
        alive = alive + new
        for each in alive:
            each.logits = masks.table[level][image][each.born]
        claimed = coverage(alive, masks.sizes[level], inside, config)
        born, alive = len(new), cull(alive, level, inside, config)
        steps.append(Step(born, list(map(copied, alive))))
        if level + 1 < len(insides):
            if config.model.growth.births == "learnt":
                claimed = 1 - coverage([], masks.sizes[level], inside, config)  # of nobody: 1 beside the image
                claimed = 1 - masks.calls[level][image, 0].sigmoid() * claimed
            elif config.model.growth.guide:
                claimed = 1 - masks.guides[level][image].amax(0).sigmoid() * (1 - claimed)
            new = newborns(level, spawn(level, claimed, alive, image, truth, config), alive)
    return steps


def copied(one: Hypothesis) -> Hypothesis:
    return Hypothesis(one.born, one.target, one.logits)


def shares(alive: list[Hypothesis], y: int, x: int, config: MaskPyramidConfig) -> list[float]:
    """What each claims of a cell."""
    logits = [each.logits[y, x].item() for each in alive]
    if config.model.growth.coverage == "max":
        return [1 / (1 + math.exp(-logit)) for logit in logits]
    total = sum(map(math.exp, logits)) + math.exp(0.0)
    return [math.exp(logit) / total for logit in logits]


def coverage(alive: list[Hypothesis], size: tuple[int, int], inside: list[int], config: MaskPyramidConfig) -> Tensor:
    """Step 2: the most that any claims; 1 outside of the image."""
    claimed = torch.ones(size, dtype=torch.float64)
    for y in range(inside[0]):
        for x in range(inside[1]):
            claimed[y, x] = max(shares(alive, y, x, config), default=0.0)
    return claimed


def spawn(
    level: int, claimed: Tensor, alive: list[Hypothesis], image: int, truth: Truth, config: MaskPyramidConfig
) -> list[tuple[int, int]]:
    """Step 3: those cells that are claimed least, in their order."""
    growth = config.model.growth
    height, width = claimed.shape
    cells = sorted((claimed[y, x].item(), y, x) for y in range(height) for x in range(width))
    if config.solver.assign.teach:
        cells = sorted(
            (-1.0 if (y, x) in taught(level, alive, image, truth, config) else value, y, x) for value, y, x in cells
        )
    return [
        (y, x)
        for place, (value, y, x) in enumerate(cells)
        if place < config.newborns(level) and (value < growth.low_thresh or (place < growth.min_spawn and value < 1))
    ]


def taught(
    level: int, alive: list[Hypothesis], image: int, truth: Truth, config: MaskPyramidConfig
) -> set[tuple[int, int]]:
    """The fullest cells of objects that have no hypothesis and are of the level's sizes."""
    own, width = {each.target for each in alive}, truth.targets[level].shape[2]
    missed = [row for row in truth.objects[image].tolist() if row >= 0 and row not in own]
    return {
        divmod(int(truth.targets[level][row].argmax()), width)
        for row in missed
        if is_learnt_from(level, row, truth, config)
    }


def is_learnt_from(level: int, row: int, truth: Truth, config: MaskPyramidConfig) -> bool:
    ranges = config.solver.assign.size_ranges
    return not ranges or bool(ranges[level][0] <= truth.scales[row] <= ranges[level][1])


def target(level: int, y: int, x: int, image: int, own: set[int], truth: Truth, config: MaskPyramidConfig) -> int:
    """Step 6: an object at the place of birth, without a hypothesis before one with, then the smallest, the first."""
    best, found = (math.inf, math.inf), -1
    for row in truth.objects[image].tolist():
        if row < 0 or not truth.covered[level][row, y, x] or not is_learnt_from(level, row, truth, config):
            continue
        rank = (row in own, int(truth.areas[row]))
        if rank < best:
            best, found = rank, row
    return found


def cull(alive: list[Hypothesis], level: int, inside: list[int], config: MaskPyramidConfig) -> list[Hypothesis]:
    """Step 5: who is among the first few somewhere; of too many those that are strongest at home."""
    growth, stride = config.model.growth, config.model.strides[level]
    kept = set()
    for y in range(inside[0]):
        for x in range(inside[1]):
            own = shares(alive, y, x, config)
            first = sorted(range(len(alive)), key=lambda n: (-alive[n].logits[y, x].item(), n))[: growth.topk_keep]
            kept |= {n for n in first if own[n] > growth.keep_floor}

    def at_home(n: int) -> float:
        born, row, column = alive[n].born
        middle = [int((side + 0.5) * config.model.strides[born] / stride) for side in (row, column)]
        y, x = (min(side, size - 1) for side, size in zip(middle, alive[n].logits.shape))
        return -alive[n].logits[y, x].item()

    best = sorted(kept, key=lambda n: (at_home(n), n))[: config.max_alive(level)]
    return [alive[n] for n in sorted(best)]


class RandomMasks:
    """Masks by lot instead of by networks, float64, of every hypothesis that there can be.

    Args:
        config: Its levels.
        sizes: Cells of each.
        batch: Images.
    """

    def __init__(self, config: MaskPyramidConfig, sizes: list[tuple[int, int]], batch: int) -> None:
        self.sizes = sizes
        cells = [(level, y, x) for level, (h, w) in enumerate(sizes) for y in range(h) for x in range(w)]
        self.numbers = {cell: number for number, cell in enumerate(cells)}
        spread = 3 * torch.rand(()).item() + 0.5
        self.maps = [
            spread * torch.randn(batch, len(cells), *size, dtype=torch.float64) - 1.5 * spread for size in sizes
        ]
        self.table = [
            [{cell: own[number] for cell, number in self.numbers.items()} for own in level] for level in self.maps
        ]
        self.guides = [torch.randn(batch, 2, *size, dtype=torch.float64) for size in sizes]
        self.calls = [torch.randn(batch, 1, *size, dtype=torch.float64) for size in sizes[:-1]]
        self.starts = torch.tensor([0, *(h * w for h, w in sizes)]).cumsum(0)
        self.widths = torch.tensor([w for _, w in sizes])
        self.first = config.model.strides[0]
        self.radius = config.model.mask.gauss_radius

    def of(self, seeds: Seeds, level: int) -> Tensor:
        """[B,A,1,h,w]."""
        strides = seeds.radii / self.radius
        births = (self.first / strides).log2().long()
        x, y = (seeds.places.nan_to_num() / strides[..., None]).floor().long().unbind(-1)
        numbers = self.starts[births] + y * self.widths[births] + x
        return self.maps[level][torch.arange(len(births))[:, None], numbers][:, :, None]
