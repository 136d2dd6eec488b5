# SPDX-License-Identifier: Apache-2.0
"""Feature pyramids (arXiv:1612.03144) under detectron2's names."""

from __future__ import annotations

from torch import Tensor, nn

from ldie.nn.normed_conv import NormedConv2d, NormLayer
from ldie.nn.resnet import ResNet


class FeaturePyramid(nn.Module):
    """Maps of equal width from a network's stages, each with what the coarser ones know, and one coarser map.

    Args:
        bottom_up: The network; stage s gets ``fpn_lateral<s>`` and ``fpn_output<s>``.
        channel: Width of all maps.
        norm: Normalisation after each convolution of the pyramid; None: none.
    """

    def __init__(self, bottom_up: ResNet, channel: int, norm: NormLayer | None = None) -> None:
        super().__init__()
        self.channel = channel
        self.bottom_up = bottom_up
        self.stages = range(2, len(bottom_up.widths) + 2)
        for stage, width in zip(self.stages, bottom_up.widths):
            self.add_module(f"fpn_lateral{stage}", _linear_conv(width, channel, 1, norm))
            self.add_module(f"fpn_output{stage}", _linear_conv(channel, channel, 3, norm))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B,3,H,W] -> maps [B,channel,h,w] of strides 4, 8, ..., the last by leaving out every second cell."""
        above: Tensor | None = None
        maps: list[Tensor] = []
        for stage, features in reversed(list(zip(self.stages, self.bottom_up(images)))):
            merged = self.get_submodule(f"fpn_lateral{stage}")(features)
            if above is not None:
                merged = merged + nn.functional.interpolate(above, size=merged.shape[-2:], mode="nearest")
            maps.insert(0, self.get_submodule(f"fpn_output{stage}")(merged))
            above = merged
        return [*maps, nn.functional.max_pool2d(maps[-1], 1, stride=2)]


def _linear_conv(inputs: int, outputs: int, kernel: int, norm: NormLayer | None) -> NormedConv2d:
    """Nothing bends its outputs, so its weights start by the rule for linear layers."""
    conv = NormedConv2d(inputs, outputs, kernel, norm=norm)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return conv
