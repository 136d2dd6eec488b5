# SPDX-License-Identifier: Apache-2.0
"""Images as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ldie.nn.blocks import ConvBlock
from ldie.nn.resnet import ResNet


class ImageEncoder(nn.Module):
    """Convolutions, and the mean of what they see in a region.

    Args:
        widths: Channels of the stages, each of which halves the map.
        blocks: Residual blocks of a stage, behind a stem that halves as well; 0: one convolution makes a stage, and
            there is no stem.
        outputs: Of the code.
    """

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int) -> None:
        super().__init__()
        self.features: nn.Module
        if blocks:
            self.features = ResNet(
                stem="conv3", stem_channel=widths[0], block="basic", blocks=[blocks] * len(widths), widths=widths,
                normalization="batch",
            )  # fmt: skip
        else:
            sizes = zip([3, *widths], widths, strict=False)
            self.features = nn.Sequential(*(ConvBlock(inputs, width, stride=2) for inputs, width in sizes))
        self.code = nn.Sequential(
            nn.Linear(widths[-1], outputs), nn.Linear(outputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()
        )

    def forward(self, images: Tensor, regions: Tensor) -> Tensor:
        """The codes of images.

        Args:
            images: [B, 3, H, W], RGB in [0, 1].
            regions: [B, 1, H, W], in [0, 1]; what is 0 does not count.

        Returns:
            [B, outputs].
        """
        maps = self.features(images * 2 - 1)
        maps = maps[-1] if isinstance(maps, list) else maps
        weights = nn.functional.adaptive_avg_pool2d(regions, (maps.shape[2], maps.shape[3])) + 1e-6
        return self.code(torch.sum(maps * weights, (2, 3)) / weights.sum((2, 3)))
