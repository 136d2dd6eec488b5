# SPDX-License-Identifier: Apache-2.0
"""The image's features on each level of the mask pyramid, the coarsest first."""

from __future__ import annotations

from torch import Tensor, nn

from ldie.nn import NormedConv2d
from ldie.nn.backbone import build_backbone
from ldie.systems.mask_pyramid.config import MaskPyramidModel


class Features(nn.Module):
    """A feature pyramid, and coarser maps made of its coarsest by convolutions of stride 2 (arXiv:1708.02002).

    Args:
        model: Its backbone and the strides of its levels.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        channel = model.backbone.pyramid_channel
        given = model.backbone.strides[:-1]
        self.used = [given.index(stride) for stride in model.strides if stride in given]
        more = sum(stride > given[-1] for stride in model.strides)
        self.backbone = build_backbone(model.backbone)
        self.coarser = nn.ModuleList(NormedConv2d(channel, channel, 3, 2, relu=True) for _ in range(more))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [B,3,H,W] -> maps [B,C,ceil(H / s),ceil(W / s)] of the levels' strides s."""
        maps = self.backbone(images)
        levels = [maps[index] for index in self.used]
        x = maps[-2]
        for conv in self.coarser:
            x = conv(x)
            levels.insert(0, x)
        return levels
