# SPDX-License-Identifier: Apache-2.0
"""The networks of the single scales, which bring their images into the common feature space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldie.nn import ConvBlock, activation, normalization
from ldie.systems.centernet.config import ExtractorConfig


class Extractor(nn.Module):
    """Brings the images of one scale into the common feature space.

    A stem of stride ``down_ratio`` that begins with a 7 x 7 convolution, a U-Net block (arXiv:1505.04597) with
    ``depth`` halvings, a 3 x 3 convolution with normalisation, and for images a 1 x 1 convolution to their 3 channels.
    Any input size goes: feature maps are [ceil(H / down_ratio), ceil(W / down_ratio)].

    Args:
        config: Depth, activation, normalisation.
        down_ratio: Input pixels per cell.
        channels: Channels of the layers.
        image: The common feature space is that of images.
    """

    def __init__(self, config: ExtractorConfig, down_ratio: int, channels: int, image: bool = False) -> None:
        super().__init__()
        norm, act = config.normalization, config.activation
        self.stem = self._stem(config, down_ratio, channels)
        self.entry = ConvBlock(channels, channels, norm=norm, act=act)
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 2, 2), activation(act), ConvBlock(channels, channels, norm=norm, act=act)
            )
            for _ in range(config.depth)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(channels, channels, 2, 2) for _ in range(config.depth))
        self.merge = nn.ModuleList(ConvBlock(2 * channels, channels, norm=norm, act=act) for _ in range(config.depth))
        # Normalised, so that no scale can win against the discriminator by the mere size of its features.
        self.exit = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none"), normalization(norm, channels)
        )
        if image:
            self.exit.extend([activation(act), nn.Conv2d(channels, 3, 1)])
        self.multiple = 2**config.depth

    @staticmethod
    def _stem(config: ExtractorConfig, down_ratio: int, channels: int) -> nn.Sequential:
        norm, act = config.normalization, config.activation
        stride = min(config.stem_stride, down_ratio)
        steps = (down_ratio // stride).bit_length() - 1
        width = channels // 2 if steps else channels
        layers = [ConvBlock(3, width, 7, stride, norm, act)]
        for _ in range(steps):
            layers.append(ConvBlock(width, channels, 3, 2, norm, act))
            width = channels
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] -> features [B,channels or 3,ceil(H / down_ratio),ceil(W / down_ratio)]."""
        x = self.stem(images)
        height, width = x.shape[2:]
        # The halvings need whole multiples; the padding is cut off again.
        x = nn.functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        x = self.entry(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up, merge in zip(self.up, self.merge):
            x = merge(torch.cat((up(x), skips.pop()), 1))
        return self.exit(x)[:, :, :height, :width]
