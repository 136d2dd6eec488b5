# SPDX-License-Identifier: Apache-2.0
"""Detection, reconstruction and masked adversarial loss of one scale."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

import ldie_ext
from ldie.nn.precision import full_precision
from ldie.systems.centernet.config import CenterNetConfig, DetectorSolver
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.targets import CellTargets


def detection_losses(maps: Maps, targets: CellTargets, config: DetectorSolver) -> dict[str, Tensor]:
    """Unweighted terms of CenterNet's loss: focal on the centres, L1 on size and on centre offset."""
    centers = targets.centers
    return {
        "hm_loss": ldie_ext.center_focal_loss_from_boxes(
            full_precision(maps.heatmap),
            targets.boxes,
            targets.labels,
            targets.offsets,
            alpha=config.hm_loss_alpha,
            beta=config.hm_loss_beta,
        ),
        "wh_loss": ldie_ext.gather_l1_loss(full_precision(maps.wh), centers.index, centers.wh, centers.valid),
        "reg_loss": ldie_ext.gather_l1_loss(full_precision(maps.offset), centers.index, centers.offset, centers.valid),
    }


def reconstruction_loss(features: Tensor, images: Tensor) -> Tensor:
    """Mean distance of features [B,3,h,w] from the images [B,3,H,W] that they stand for, reduced to h x w."""
    size = (features.shape[2], features.shape[3])
    reduced = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return functional.l1_loss(full_precision(features), reduced)


def weighted_sum(losses: dict[str, Tensor], config: DetectorSolver) -> Tensor:
    """The detection loss of one scale, with the terms there are."""
    total = (
        config.hm_loss_weight * losses["hm_loss"]
        + config.wh_loss_weight * losses["wh_loss"]
        + config.reg_loss_weight * losses["reg_loss"]
    )
    return total + config.recon_loss_weight * losses["recon_loss"] if "recon_loss" in losses else total


def adversarial_loss(
    scores: Tensor,
    scale: int,
    targets: CellTargets,
    config: CenterNetConfig,
    side: Literal["detector", "discriminator"],
) -> Tensor:
    """Unweighted adversarial loss of one scale.

    ``masking`` off counts every cell once, and then neither of the other two mask settings has an effect.

    Args:
        scores: Discriminator output on the features of this scale: [B,S,H,W], without the discriminator's margin, or
            [B,S] for whole images, which cannot be masked.
        scale: Channel of the true scale.
        targets: Ground truth of this scale.
        config: Masking settings and kind of loss.
        side: Whose loss; the two have opposite signs.
    """
    options = config.model.discriminator
    kind = config.solver.adv_loss_fn
    scores = full_precision(scores)
    if scores.ndim == 2:
        scores = scores[:, :, None, None]
    if side == "discriminator" and config.solver.legacy_inplace:
        signs = scores.new_ones(scores.shape[1], 1, 1)
        signs[scale] = -1
        scores = scores * signs
    if not options.masking:
        return ldie_ext.masked_scale_loss(scores, scale, side=side, kind=kind)
    return ldie_ext.masked_scale_loss(
        scores,
        scale,
        targets.boxes - options.margin,
        targets.labels,
        targets.offsets,
        num_classes=config.model.num_classes,
        class_agnostic=options.masking_class_agnostic,
        side=side,
        kind=kind,
        normalize=options.normalize_loss_with_mask,
        rounding=options.mask_round,
    )
