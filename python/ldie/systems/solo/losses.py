# SPDX-License-Identifier: Apache-2.0
"""One forward pass of training: from a batch to its losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import ldie_ext
from ldie.contract import Runtime
from ldie.nn.precision import full_precision
from ldie.systems.solo.config import SOLOConfig, SOLOSolver
from ldie.systems.solo.head import Outlook
from ldie.systems.solo.model import SOLO
from ldie.systems.solo.targets import Targets, make_targets
from ldie.tasks.detection.batches import Batch, network_input


class Losses(nn.Module):
    """The losses of a model, unweighted, as a module that can be trained on several processes.

    Args:
        model: In training mode.
        runtime: Sums counts over the processes.
    """

    def __init__(self, model: SOLO, runtime: Runtime) -> None:
        super().__init__()
        self.model = model
        self.config: SOLOConfig = model.config
        self._runtime = runtime

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_mask``."""
        images = network_input(batch.images, batch.sizes, self.config.input)
        targets = make_targets(batch, self.config)
        outlook = self.model(images)
        positives, count = self._counts(targets.labels)
        return {
            "loss_cls": category_loss(outlook.categories, targets.labels, self.config) / count,
            "loss_mask": self._mask_loss(outlook, targets) / positives,
        }

    def _counts(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of a process on average: positives, 1 at least in all; and what the categories' loss is divided by."""
        processes = self._runtime.world_size
        more = len(labels) if self.config.solver.count_images else 1 / processes
        positives = (labels >= 0).sum().double()
        mean = self._runtime.total(torch.stack([positives, torch.full_like(positives, more)])).float() / processes
        return mean[0].clamp(min=1 / processes), mean.sum()

    def _mask_loss(self, outlook: Outlook, targets: Targets) -> Tensor:
        """Sum of the dice losses of all positives."""
        head, solver = self.config.model.head, self.config.solver
        sums = []
        for level, (features, own, masks, width) in enumerate(
            zip(outlook.features, targets.positives, targets.masks, targets.widths)
        ):
            logits = full_precision(self.model.head.masks(features, level, own.counts, own.places))
            sums.append(
                ldie_ext.gather_upsample_dice(
                    logits,
                    masks,
                    rows=own.objects,
                    align_corners=head.align_corners,
                    sigmoid="after" if head.sigmoid_after_up else "before",
                    smooth=solver.dice_smooth,
                    packed_width=None if solver.mask_targets == "fraction" else width,
                    reduction="sum",
                )
            )
        return torch.stack(sums).sum()


def category_loss(categories: Sequence[Tensor], labels: Tensor, config: SOLOConfig) -> Tensor:
    """Sum over all places: focal loss (arXiv:1708.02002) of each class, or cross entropy with background.

    Args:
        categories: Logits [B,K,S,S] by level.
        labels: int64 [B,M], -1 for background.
        config: Which of the two, and its parameters.
    """
    solver: SOLOSolver = config.solver
    logits = full_precision(torch.cat([level.flatten(2) for level in categories], 2)).transpose(1, 2)
    classes = config.model.num_classes
    if config.model.head.category == "softmax":
        wanted = labels.where(labels >= 0, classes)
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
    truth = (labels[..., None] == torch.arange(classes, device=labels.device)).to(logits.dtype)
    return ldie_ext.sigmoid_focal_loss(logits, truth, solver.focal_alpha, solver.focal_gamma, reduction="sum")
