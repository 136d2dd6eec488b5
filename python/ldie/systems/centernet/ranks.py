# SPDX-License-Identifier: Apache-2.0
"""Losses of several processes that weigh what they were averaged over as one process with all their images would.

A loss that is a mean over peaks, objects or covered cells is multiplied by this process's share of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import ldie_ext
from ldie.contract import Runtime
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.targets import CellTargets

_COORDINATES = 2  # values of an object in each of the L1 losses


@dataclass(frozen=True)
class RankShares:
    """For one scale, how many times the mean over the processes this process has; scalars."""

    peaks: Tensor | None = None
    """None: one process, or all have as many."""
    objects: Tensor | None = None
    cells: Tensor | None = None

    def detection(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of :func:`detection_losses`, weighted."""
        counted = {"hm_loss": self.peaks, "wh_loss": self.objects, "reg_loss": self.objects}
        return {name: weighted(loss, counted.get(name)) for name, loss in losses.items()}


def weighted(loss: Tensor, share: Tensor | None) -> Tensor:
    """A loss times this process's share of what it was averaged over, if there is one."""
    return loss if share is None else loss * share.to(loss.dtype)


def rank_shares(
    targets: Sequence[CellTargets], size: tuple[int, int], config: CenterNetConfig, runtime: Runtime
) -> list[RankShares]:
    """The shares of each scale: one sum over the processes in a step, for which the host does not wait.

    Args:
        targets: By scale, of this process.
        size: Height and width of the feature map.
        config: Number of classes, masks.
        runtime: Of the run.
    """
    if runtime.world_size == 1:
        return [RankShares()] * len(targets)
    counts = torch.stack([_counts(target, size, config) for target in targets])  # [scales, 3]
    means = runtime.total(counts) / runtime.world_size
    return [RankShares(*shares) for shares in _denominators(counts, 1) / _denominators(means, runtime.world_size)]


def _counts(targets: CellTargets, size: tuple[int, int], config: CenterNetConfig) -> Tensor:
    """float64 [3]: the peaks of the heatmap, the objects and the covered cells of one scale."""
    boxes, labels, offsets = targets.boxes, targets.labels, targets.offsets
    heatmap = ldie_ext.center_heatmap(boxes, labels, offsets, config.model.num_classes, size)
    counts = [(heatmap == 1).sum(), targets.centers.valid.sum(), _covered(targets, size, config)]
    return torch.stack(counts).double()


def _covered(targets: CellTargets, size: tuple[int, int], config: CenterNetConfig) -> Tensor:
    options = config.model.discriminator
    if options.type == "none" or not (options.masking and options.normalize_loss_with_mask):
        return torch.ones(
            (), dtype=torch.int64, device=targets.boxes.device
        )  # divided by all cells, as many everywhere
    inner = (size[0] - 2 * options.margin, size[1] - 2 * options.margin)
    masks = ldie_ext.box_class_masks(
        targets.boxes - options.margin,
        targets.labels,
        targets.offsets,
        config.model.num_classes,
        inner,
        class_agnostic=options.masking_class_agnostic,
        rounding=options.mask_round,
    )
    return masks.sum()


def _denominators(counts: Tensor, processes: int) -> Tensor:
    """By what the losses divide, from counts per process: peaks, one at least; twice the objects, plus 1e-4; cells."""
    peaks, objects, cells = counts.unbind(1)
    return torch.stack(
        [
            peaks.clamp(min=1 / processes),
            _COORDINATES * objects + 1e-4 / processes,
            cells.clamp(min=1 / processes),
        ],
        dim=1,
    )
