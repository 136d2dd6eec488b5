# SPDX-License-Identifier: Apache-2.0
"""The pyramid's maps on their way to the head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from ldie.nn import NormedConv2d
from ldie.systems.solo.config import SOLOModel


class Levels(nn.Module):
    """Each map in the stride that the head wants it in, after what convolutions and ReLUs the configuration adds.

    Args:
        model: Of the maps and the head.
    """

    def __init__(self, model: SOLOModel) -> None:
        super().__init__()
        channel = model.backbone.pyramid_channel
        self.relu = model.fpn_relu
        self.fpn_convs = nn.ModuleList(
            NormedConv2d(channel, channel, 3, relu=model.fpn_relu) for _ in range(model.fpn_convs)
        )
        self.strides = model.backbone.strides, model.head.strides
        self.align_corners = model.head.align_corners

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [B,C,h,w] of the pyramid -> those that the head has grids for, resized."""
        levels = []
        image = [side * self.strides[0][0] for side in maps[0].shape[2:]]
        for x, given, wanted in zip(maps, *self.strides):
            x = functional.relu(x) if self.relu else x
            for conv in self.fpn_convs:
                x = conv(x)
            levels.append(x if given == wanted else self._resized(x, [side // wanted for side in image]))
        return levels

    def _resized(self, x: Tensor, size: list[int]) -> Tensor:
        return functional.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)
