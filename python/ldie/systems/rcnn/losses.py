# SPDX-License-Identifier: Apache-2.0
"""The losses of the two stages, each divided by what all processes together learn from.

What is not in use is replaced before anything is computed from it, so that not even a NaN there has an effect.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

import ldie_ext
from ldie.nn.precision import full_precision
from ldie.systems.rcnn.config import LossConfig
from ldie.systems.rcnn.proposals import Outlook
from ldie.systems.rcnn.regions import Regions
from ldie.systems.rcnn.targets import AnchorTargets


def proposal_losses(outlook: Outlook, targets: AnchorTargets, config: LossConfig) -> dict[str, Tensor]:
    """Objectness and boxes of the sampled anchors, each over the number that an image has samples for."""
    logits = outlook.logits.gather(1, targets.index).where(targets.used, 0)
    deltas = outlook.deltas.gather(1, targets.index[..., None].expand(-1, -1, 4))
    objectness = functional.binary_cross_entropy_with_logits(
        logits, targets.positive.to(logits.dtype), weight=targets.used.to(logits.dtype), reduction="sum"
    )
    box = smooth_l1(deltas.where(targets.positive[..., None], 0), targets.deltas, config.proposal_beta)
    samples = targets.index.numel()
    return {"rpn_cls_loss": objectness / samples, "rpn_loc_loss": box / samples}


def box_losses(
    logits: Tensor, deltas: Tensor, targets: Tensor, regions: Regions, config: LossConfig, count: Tensor
) -> dict[str, Tensor]:
    """Classes of all regions, and boxes of those of objects, over the number of regions.

    Args:
        logits: [R,K+1], background last.
        deltas: [R,4K], or [R,4] for all classes.
        targets: [R,4], of the regions of objects.
        regions: R of them.
        config: Where smooth L1 turns.
        count: Scalar, regions of a process on average.
    """
    logits, classes = full_precision(logits).where(regions.used[:, None], 0), logits.shape[1] - 1
    cross_entropy = functional.cross_entropy(logits, regions.labels, reduction="none")
    own = full_precision(deltas).unflatten(1, (-1, 4))
    objects = regions.used & (regions.labels < classes)
    label = regions.labels.clamp(max=own.shape[1] - 1)
    own = own.gather(1, label[:, None, None].expand(-1, 1, 4)).squeeze(1)
    objects = objects[:, None]
    box = smooth_l1(own.where(objects, 0), targets.to(own.dtype).where(objects, 0), config.box_beta)
    return {"cls_loss": cross_entropy.where(regions.used, 0).sum() / count, "loc_loss": box / count}


def mask_loss(logits: Tensor, masks: Tensor, regions: Regions, count: Tensor) -> Tensor:
    """Binary cross entropy of each region's own class, over ``count`` regions.

    Args:
        logits: [F,K,M,M].
        masks: bool [F,M,M].
        regions: F of them, of objects where they are in use.
        count: Scalar, regions of objects of a process on average.
    """
    label = regions.labels.clamp(max=logits.shape[1] - 1)
    own = full_precision(logits[torch.arange(len(logits), device=logits.device), label])
    used = regions.used[:, None, None]
    loss = functional.binary_cross_entropy_with_logits(
        own.where(used, 0), masks.to(own.dtype), weight=used.to(own.dtype), reduction="sum"
    )
    return loss / (count * logits.shape[2] * logits.shape[3])


def keypoint_loss(logits: Tensor, index: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Cross entropy over the cells of each valid heatmap, over ``count`` heatmaps.

    Args:
        logits: [F,K,M,M].
        index: int64 [F,K], target cells.
        valid: bool [F,K].
        count: Scalar, valid heatmaps of a process on average.
    """
    return ldie_ext.spatial_softmax_cross_entropy(full_precision(logits), index, valid, reduction="sum") / count


def smooth_l1(values: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Sum; absolute differences where ``beta`` is 0 (arXiv:1504.08083, eq. 3)."""
    return functional.smooth_l1_loss(values, targets, reduction="sum", beta=beta)
