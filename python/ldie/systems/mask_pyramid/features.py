# SPDX-License-Identifier: Apache-2.0
"""The image's features on each level of the mask pyramid, the coarsest first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ldie.nn import NormedConv2d
from ldie.systems.mask_pyramid.config import MaskPyramidModel


class Features(nn.Module):
    """Maps of a feature pyramid, and coarser ones made of its coarsest by convolutions of stride 2 (arXiv:1708.02002).

    Args:
        model: The strides of its levels and of its backbone.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        channel = model.backbone.pyramid_channel
        given = model.backbone.strides[:-1]
        self.used = [given.index(stride) for stride in model.strides if stride in given]
        more = sum(stride > given[-1] for stride in model.strides)
        self.coarser = nn.ModuleList(NormedConv2d(channel, channel, 3, 2, relu=True) for _ in range(more))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the backbone -> [B,C,ceil(H / s),ceil(W / s)] of the levels' strides s, of images [B,3,H,W]."""
        levels = [maps[index] for index in self.used]
        x = maps[-2]
        for conv in self.coarser:
            x = conv(x)
            levels.insert(0, x)
        return levels


def idle(model: MaskPyramidModel) -> list[str]:
    """Layers of the backbone's pyramid that no level sees, and that cannot learn."""
    given, used = model.backbone.strides[:-1], set(model.strides)
    if model.start_stride > given[-1]:
        used.add(given[-1])
    outputs = [f"fpn_output{stage}" for stage, stride in enumerate(given, 2) if stride not in used]
    return outputs + [f"fpn_lateral{stage}" for stage, stride in enumerate(given, 2) if stride < model.last_stride]
