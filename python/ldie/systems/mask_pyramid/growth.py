# SPDX-License-Identifier: Apache-2.0
"""A mask pyramid grows: hypotheses are born on the coarsest level and where later ones are unclaimed, refined, culled.

Nothing waits for the device, and all images of a batch grow together: every image has the same number of slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

import ldie_ext
from ldie.nn.precision import full_precision
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.generations import ConvMasks, StateMasks
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks, Seeds, at_places
from ldie.systems.mask_pyramid.truth import Truth, assign

_TAUGHT = -1.0
"""What cells are claimed by that give birth whatever hypotheses say."""


class Level(NamedTuple):
    """A level when it has grown."""

    hypotheses: Hypotheses
    guide: Tensor | None
    """float [B,K,h,w]: logits of where objects of each class are."""
    born: Tensor
    """int64 [B]: how many were born on it."""


class Growth(nn.Module):
    """The networks of the pyramid itself, and how it grows with them.

    Args:
        config: All of it.
    """

    def __init__(self, config: MaskPyramidConfig) -> None:
        super().__init__()
        model = config.model
        self.config = config
        self.masks = ConvMasks(model) if model.mask.generation == 1 else StateMasks(model)
        guided = len(model.strides) if model.growth.guide else 0
        self.guides = nn.ModuleList(
            nn.Conv2d(model.backbone.pyramid_channel, model.num_classes, 1) for _ in range(guided)
        )

    def forward(self, features: Sequence[Tensor], sizes: Tensor, truth: Truth | None = None) -> list[Level]:
        """Features [B,C,h,w] of the levels that grow, the coarsest first -> these levels.

        Args:
            features: By level.
            sizes: int64 [B,2], of the images inside of the batch, in pixels.
            truth: In training: what newborns learn.
        """
        levels: list[Level] = []
        for index, level in enumerate(features):
            guide = full_precision(self.guides[index](level)) if self.guides else None
            before = levels[-1].hypotheses if levels else None
            levels.append(self._level(index, level, before, guide, sizes, truth))
        return levels

    def _level(
        self,
        index: int,
        level: Tensor,
        before: Hypotheses | None,
        guide: Tensor | None,
        sizes: Tensor,
        truth: Truth | None,
    ) -> Level:
        config = self.config
        inside = -(-sizes // config.model.strides[index])
        old = self._refined(index, level, before, truth) if before else None
        claimed = self._claimed(old, guide if before else None, inside, level)
        seeds, born = self._born(index, claimed, old, truth)
        new = self._chosen(seeds, self.masks.born(level, seeds, index), index, truth)
        both = old.join(new) if old else new
        return Level(self._culled(index, both, inside), guide, born)

    def _refined(self, index: int, level: Tensor, before: Hypotheses, truth: Truth | None) -> Hypotheses:
        seeds, masks = before
        return self._chosen(seeds, self.masks.refined(level, seeds, masks, index, masks.logits), index, truth)

    def _chosen(self, seeds: Seeds, masks: Masks, index: int, truth: Truth | None) -> Hypotheses:
        """The mask of one class alone: that of the object that is learnt, otherwise the strongest at its place."""
        logits = full_precision(masks.logits)
        if logits.shape[2] == 1:
            return Hypotheses(seeds, masks._replace(logits=logits[:, :, 0]))
        stride = self.config.model.strides[index]
        at_root = torch.stack([at_places(own, seeds.places, stride) for own in logits.unbind(2)], 2)
        label = at_root.argmax(2)
        if truth is not None and len(truth.labels):
            label = truth.labels[seeds.objects.clamp(min=0)].where(seeds.objects >= 0, label)
        where = label[..., None, None, None].expand(-1, -1, 1, *logits.shape[3:])
        return Hypotheses(seeds, masks._replace(logits=logits.gather(2, where)[:, :, 0]))

    def _claimed(self, old: Hypotheses | None, guide: Tensor | None, inside: Tensor, level: Tensor) -> Tensor:
        """Float [B,h,w]: how much each cell is claimed; 1 outside of the image, 0 where there is no hypothesis yet."""
        if old is None:
            height, width = level.shape[2:]
            y, x = (torch.arange(side, device=inside.device) for side in (height, width))
            out = (y[:, None] >= inside[:, 0, None, None]) | (x >= inside[:, 1, None, None])
            return out.float()
        claimed = self._coverage(old, inside).coverage
        return claimed if guide is None else 1 - guide.detach().amax(1).sigmoid() * (1 - claimed)

    def _coverage(self, hypotheses: Hypotheses, inside: Tensor) -> ldie_ext.PyramidCoverage:
        growth = self.config.model.growth
        return ldie_ext.pyramid_coverage(
            hypotheses.masks.logits.detach(),
            hypotheses.seeds.alive,
            mode=growth.coverage,
            top_k=growth.topk_keep,
            background=0.0 if growth.coverage == "softmax" else None,
            floor=growth.keep_floor,
            sizes=inside,
        )

    def _born(self, index: int, claimed: Tensor, old: Hypotheses | None, truth: Truth | None) -> tuple[Seeds, Tensor]:
        config, stride = self.config, self.config.model.strides[index]
        batch, (height, width) = claimed.shape[0], claimed.shape[1:]
        most = config.max_alive(index)
        if truth is not None and old is not None and config.solver.assign.teach:
            claimed = _teach(claimed, truth, old.seeds, index)
        first = old is None
        cells, counts = ldie_ext.pyramid_spawn(
            claimed,
            claimed.new_zeros((batch, 0), dtype=torch.bool) if old is None else old.seeds.alive,
            capacity=min(most, height * width) if first else min(config.newborns(index), height * width),
            max_alive=most if first else most + config.newborns(index),
            threshold=config.model.growth.low_thresh if not first else 0.5,
            min_spawn=0 if first else config.model.growth.min_spawn,
        )
        alive = cells >= 0
        y, x = cells.div(width, rounding_mode="floor"), cells % width
        places = (torch.stack([x, y], 2) + 0.5) * stride
        objects = torch.full_like(cells, -1)
        if truth is not None:
            objects = assign(places, alive, index, old.seeds if old else None, truth, config)
        return Seeds(alive, places, torch.full_like(cells, index), objects), counts

    def _culled(self, index: int, hypotheses: Hypotheses, inside: Tensor) -> Hypotheses:
        """Those that are among the best somewhere, the best at their own places where there are too many."""
        seeds, masks = hypotheses
        present = self._coverage(hypotheses, inside).present
        root = at_places(masks.logits.detach(), seeds.places, self.config.model.strides[index])
        capacity = min(self.config.max_alive(index), seeds.alive.shape[1])
        return hypotheses.take(ldie_ext.pyramid_cull(present, root, capacity).slots)


def _teach(claimed: Tensor, truth: Truth, seeds: Seeds, index: int) -> Tensor:
    """Objects without a hypothesis are born at the cell that has most of them."""
    if not truth.objects.shape[1]:
        return claimed
    missed = (truth.objects >= 0) & ~truth.supported(seeds)
    targets = truth.targets[index].flatten(1)
    cell = targets.argmax(1)[truth.objects.clamp(min=0)]
    flat = claimed.flatten(1)
    taught = torch.zeros_like(flat).scatter_add_(1, cell, missed.to(flat.dtype)) > 0
    return flat.masked_fill(taught, _TAUGHT).unflatten(1, claimed.shape[1:])
