# SPDX-License-Identifier: Apache-2.0
"""The region proposal network (arXiv:1506.01497) on a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import ldie_ext
import ldie_ext.nn
from ldie.nn.precision import full_precision
from ldie.systems.rcnn.config import RCNNModel
from ldie.systems.rcnn.heads import RPNHead


@dataclass(frozen=True)
class Outlook:
    """What the network says of A anchors, level by level, in each of B images."""

    logits: Tensor  # float [B,A], objectness
    deltas: Tensor  # float [B,A,4]
    anchors: Tensor  # float [A,4]
    level_sizes: tuple[int, ...]


class ProposalGenerator(nn.Module):
    """Objectness and boxes of anchors, and the best of them as proposals.

    Args:
        config: Of the model.
    """

    def __init__(self, config: RCNNModel) -> None:
        super().__init__()
        self.options = config.proposals
        self.anchors = ldie_ext.nn.AnchorGenerator(
            config.proposals.anchor_sizes,
            (config.proposals.anchor_ratios,) * len(config.proposals.anchor_sizes),
            convention=config.convention,
            offset=config.proposals.anchor_offset,
            strides=config.backbone.strides if config.convention == "detectron2" else None,
        )
        anchors = self.anchors.num_anchors_per_location()[0]
        self.rpn_head = RPNHead(config.backbone.pyramid_channel, anchors, config.proposals.depth)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Outlook:
        """From the pyramid's maps [B,C,h,w] of images of ``size`` (H, W)."""
        logits, deltas = self.rpn_head(maps)
        flat_logits = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
        flat_deltas = [level.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in deltas]
        flat = full_precision(torch.cat(flat_logits, 1))
        return Outlook(
            flat,
            full_precision(torch.cat(flat_deltas, 1)),
            self.anchors.grid(size, maps).to(flat.dtype),
            tuple(level.shape[1] for level in flat_logits),
        )

    @torch.no_grad()
    def propose(self, outlook: Outlook, sizes: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Boxes [B,P,4] in images of ``sizes`` int64 [B,2], best first, and how many there are of each image [B].

        Their number is that of training also where this network itself does not learn.
        """
        options, kind = self.options, "train" if training else "test"
        boxes, _, counts = ldie_ext.select_proposals(
            outlook.logits,
            outlook.deltas,
            outlook.anchors,
            outlook.level_sizes,
            sizes,
            pre_nms=getattr(options, f"pre_nms_{kind}"),
            post_nms=getattr(options, f"post_nms_{kind}"),
            iou_threshold=options.nms_threshold,
        )
        return boxes, counts
