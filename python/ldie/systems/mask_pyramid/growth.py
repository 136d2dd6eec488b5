# SPDX-License-Identifier: Apache-2.0
"""A mask pyramid grows: hypotheses are born on the coarsest level and where later ones are unclaimed, refined, culled.

Nothing waits for the device, and all images of a batch grow together: every image has the same number of slots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import ldie_ext
from ldie.nn.precision import full_precision
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.generations import ConvMasks, StateMasks
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks, Seeds, at_places
from ldie.systems.mask_pyramid.truth import Truth, assign

_DOWN, _RIGHT = 0.5698402910, 0.7548776662
"""Cells of which ``y * _DOWN + x * _RIGHT`` modulo 1 is small lie evenly on maps of any size: powers of the inverse of
the plastic number, the golden ratio of the plane (Roberts' sequence R2)."""
_RARE = 0.01
"""Probability of a birth in each cell at the start."""
_TAUGHT = -math.inf
"""What cells are claimed by that give birth whatever hypotheses and the guide say."""


@dataclass(frozen=True)
class Level:
    """A level when it has grown."""

    hypotheses: Hypotheses
    """Those that live on, the cells' best ones."""
    guide: Tensor | None
    """float [B,K,h,w]: logits of where objects of each class are."""
    calls: Tensor | None
    """float [B,1,h,w]: logits of where births are called for, with ``model.growth.births=learnt``; not on the last."""
    born: Tensor
    """int64 [B]: how many of all were born for this level, on cells of the one before."""
    slots: Tensor
    """int64 [B,K]: where the hypotheses come from: slots of the level before, and after these of newborns; -1: none."""


class Growth(nn.Module):
    """The networks of the pyramid itself, and how it grows with them.

    On the coarsest level every cell starts a hypothesis. Then, on every level: masks are computed on it for old and new
    hypotheses together; those that are among the best of no cell die, the worst ones too where there are too many; and
    the cells that are claimed least give birth to new ones, whose first masks are those of the next level.

    Args:
        config: All of it.
    """

    def __init__(self, config: MaskPyramidConfig) -> None:
        super().__init__()
        model = config.model
        self.config = config
        self.masks = ConvMasks(model) if model.mask.generation == 1 else StateMasks(model)
        guided = len(model.strides) if model.growth.guide else 0
        channel = model.backbone.pyramid_channel
        self.guides = nn.ModuleList(nn.Conv2d(channel, model.num_classes, 1) for _ in range(guided))
        calling = len(model.strides) - 1 if model.growth.births == "learnt" else 0
        self.calls = nn.ModuleList(nn.Conv2d(channel, 1, 1) for _ in range(calling))
        for conv in self.calls:
            nn.init.constant_(conv.get_parameter("bias"), -math.log(1 / _RARE - 1))

    def forward(self, features: Sequence[Tensor], sizes: Tensor, truth: Truth | None = None) -> list[Level]:
        """Features [B,C,h,w] of the levels that grow, the coarsest first -> these levels.

        Args:
            features: By level.
            sizes: int64 [B,2], of the images inside of the batch, in pixels.
            truth: In training: what newborns learn.
        """
        levels: list[Level] = []
        guides = [full_precision(guide(level)) for guide, level in zip(self.guides, features)]
        seeds, born = self._first(features[0], guides[0] if guides else None, sizes, truth)
        before, images = None, torch.arange(len(sizes), device=sizes.device)[:, None]
        for index, level in enumerate(features):
            grown = self._grown(index, level, seeds, before, truth)
            guide = guides[index] if guides else None
            coverage, present, responses = self._coverage(index, grown, sizes)
            assert responses is not None  # places were given
            capacity = min(self.config.max_alive(index) * self._slots(truth), present.shape[1])
            slots = ldie_ext.pyramid_cull(present, responses, capacity).slots
            grown = grown.take(images, slots)
            calls = full_precision(self.calls[index](level)) if index < len(self.calls) else None
            levels.append(Level(grown, guide, calls, born, slots))
            if index + 1 < len(features):
                before, seeds = grown.masks, grown.seeds
                if self.config.newborns(index):
                    newborn, born = self._born(levels[-1], index, coverage, present, sizes, truth)
                    seeds = seeds.join(newborn)
                else:
                    born = torch.zeros_like(born)
        return levels

    def _first(self, level: Tensor, guide: Tensor | None, sizes: Tensor, truth: Truth | None) -> tuple[Seeds, Tensor]:
        """A hypothesis in each cell inside of the images.

        Where the batch has more cells than there is room for, in those where the guide sees objects first; without one,
        in cells that lie evenly.
        """
        stride, (height, width) = self.config.model.strides[0], level.shape[2:]
        nobody = torch.zeros((len(level), 1), dtype=torch.bool, device=level.device)
        coverage = _outside(level, sizes, stride)
        room = min(self.config.max_alive(0) * self._slots(truth), height * width)
        if room == height * width:
            guide = None
        elif guide is None:
            y, x = (torch.arange(side, device=level.device) for side in (height, width))
            coverage = coverage.maximum((y[:, None] * _DOWN + x * _RIGHT) % 1)
        cells, born, places = ldie_ext.pyramid_spawn(
            coverage,
            nobody,
            capacity=room,
            max_alive=room,
            threshold=1.0,
            guide=None if guide is None else guide.detach(),
            step=stride,
        )
        return self._seeds(0, cells, places, None, truth), born

    def _grown(self, index: int, level: Tensor, seeds: Seeds, before: Masks | None, truth: Truth | None) -> Hypotheses:
        """Masks of all hypotheses on a level; of those for each class the one of its own class."""
        logits, states = self.masks(level, seeds, before, index)
        logits = full_precision(logits)
        if logits.shape[2] == 1:
            return Hypotheses(seeds, Masks(logits[:, :, 0], states))
        stride = self.config.model.strides[index]
        label = torch.stack([at_places(own, seeds.places, stride) for own in logits.unbind(2)], 2).argmax(2)
        if truth is not None and seeds.objects is not None:
            label = truth.labels_of(seeds.objects).where(seeds.objects >= 0, label)
        where = label[..., None, None, None].expand(-1, -1, 1, *logits.shape[3:])
        return Hypotheses(seeds, Masks(logits.gather(2, where)[:, :, 0], states))

    def _coverage(self, index: int, hypotheses: Hypotheses, sizes: Tensor) -> ldie_ext.PyramidCoverage:
        growth, seeds = self.config.model.growth, hypotheses.seeds
        return ldie_ext.pyramid_coverage(
            hypotheses.masks.logits.detach(),
            seeds.alive,
            places=seeds.places,
            step=self.config.model.strides[index],
            mode=growth.coverage,
            top_k=growth.topk_keep,
            background=0.0 if growth.coverage == "softmax" else None,
            floor=growth.keep_floor,
            sizes=sizes,
        )

    def _born(
        self, level: Level, index: int, claimed: Tensor, present: Tensor, sizes: Tensor, truth: Truth | None
    ) -> tuple[Seeds, Tensor]:
        """Hypotheses in cells of a level, whose slots are beside those that are there."""
        growth, old, guide = self.config.model.growth, level.hypotheses.seeds, level.guide
        if level.calls is not None:
            claimed, guide = _outside(level.calls, sizes, self.config.model.strides[index]), level.calls
        if truth is not None and self.config.solver.assign.teach:
            claimed = _teach(claimed, truth, truth.missed(old, index, self.config.solver.assign), index)
        room = min(self.config.newborns(index) * self._slots(truth), claimed[0].numel())
        cells, born, places = ldie_ext.pyramid_spawn(
            claimed,
            present,
            capacity=room,
            max_alive=present.shape[1] + room,
            threshold=growth.low_thresh,
            min_spawn=growth.min_spawn,
            guide=None if guide is None else guide.detach(),
            step=self.config.model.strides[index],
        )
        return self._seeds(index, cells, places, old, truth), born

    def _slots(self, truth: Truth | None) -> int:
        """Times as many as the configuration says for training."""
        return self.config.test.slots if truth is None else 1

    def _seeds(self, index: int, cells: Tensor, places: Tensor, old: Seeds | None, truth: Truth | None) -> Seeds:
        radius = self.config.model.mask.gauss_radius * self.config.model.strides[index]
        births = nn.functional.pad(places, (0, 1), value=radius)
        objects = None if truth is None else assign(places, cells >= 0, index, old, truth, self.config)
        return Seeds(cells, births, objects)


def _outside(maps: Tensor, sizes: Tensor, stride: int) -> Tensor:
    """[B,h,w] of maps [B,C,h,w] of a stride: what no hypotheses claim, 0 inside of the images and 1 beside them."""
    nobody = torch.zeros((len(maps), 1), dtype=torch.bool, device=maps.device)
    return ldie_ext.pyramid_coverage(
        maps[:, :1].detach(), nobody, mode="max", top_k=1, sizes=sizes, step=stride
    ).coverage


def _teach(claimed: Tensor, truth: Truth, missed: Tensor, index: int) -> Tensor:
    """Objects bool [B,T] that are missed are born at the cell that has most of them."""
    if not missed.numel():
        return claimed
    return claimed.masked_fill(truth.fullest(missed, index), _TAUGHT)
