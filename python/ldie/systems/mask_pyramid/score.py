# SPDX-License-Identifier: Apache-2.0
"""What hypotheses are of: classes, and how well their masks fit, from what lies under the masks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ldie.nn import NormedConv2d, norm_layer
from ldie.nn.precision import full_precision
from ldie.systems.mask_pyramid.config import MaskPyramidModel
from ldie.systems.mask_pyramid.hypotheses import Hypotheses


class Opinion(NamedTuple):
    """Of A hypotheses of each of B images."""

    classes: Tensor
    """float32 [B,A,K + 1]: logits, the last of background."""
    overlaps: Tensor | None
    """float32 [B,A]: logits of the expected overlap with an object."""


class ScoreHead(nn.Module):
    """Classes from the means, weighted by the mask, of the image's features and of a hypothesis' own channels.

    Args:
        model: Classes, channels and options.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        channel = model.backbone.pyramid_channel
        own = model.mask.state_channel if model.mask.generation == 2 else 0
        hidden, norm = model.score.hidden, norm_layer(model.mask.normalization)
        layers = (NormedConv2d(channel, channel, 3, norm=norm, relu=True) for _ in range(model.score.convs))
        self.convs = nn.Sequential(*layers)
        self.hidden = nn.Linear(channel + own, hidden)
        self.classes = nn.Linear(hidden, model.num_classes + 1)
        self.overlaps = nn.Linear(hidden, 1) if model.score.iou_head else None

    def forward(self, features: Tensor, hypotheses: Hypotheses) -> Opinion:
        """Features [B,C,h,w] of the hypotheses' level."""
        masks = hypotheses.masks
        weights = masks.logits.detach().sigmoid().flatten(2)
        weights = (weights / weights.sum(2, keepdim=True).clamp(min=1e-6)).to(features.dtype)
        pooled = weights @ self.convs(features).flatten(2).transpose(1, 2)
        if masks.states is not None:
            own = weights[:, :, None] @ masks.states.flatten(2, 3)
            pooled = torch.cat([pooled, own[:, :, 0]], 2)
        hidden = self.hidden(pooled).relu()
        overlaps = None if self.overlaps is None else full_precision(self.overlaps(hidden)[..., 0])
        return Opinion(full_precision(self.classes(hidden)), overlaps)
