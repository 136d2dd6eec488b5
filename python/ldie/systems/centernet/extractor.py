# SPDX-License-Identifier: Apache-2.0
"""The networks of the single scales, which bring their images into the common feature space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldie.nn import ConvBlock, activation, convolution, normalization
from ldie.systems.centernet.config import ExtractorConfig


def build_extractor(config: ExtractorConfig, down_ratio: int, channels: int, image: bool = False) -> nn.Module:
    """The extractor of ``config.type`` for one scale; arguments as of :class:`UNetExtractor`."""
    kind = StemExtractor if config.type == "stem" else UNetExtractor
    return kind(config, down_ratio, channels, image)


class StemExtractor(nn.Module):
    """The stem of ResNet (arXiv:1512.03385), under its names: what CenterNet's published weights begin with.

    A 7 x 7 convolution of stride 2, normalisation, activation and a 3 x 3 max-pooling of stride 2 make the published
    stride of 4. Other strides have more or fewer poolings, and a stride of 1 is the convolution's, too. For images a
    1 x 1 convolution to their 3 channels follows. Arguments and sizes are those of :class:`UNetExtractor`.
    """

    def __init__(self, config: ExtractorConfig, down_ratio: int, channels: int, image: bool = False) -> None:
        super().__init__()
        norm, stride = config.normalization, min(2, down_ratio)
        conv = nn.Conv2d(3, channels, 7, stride, 3, bias=norm in ("none", "spectral"))
        self.conv1 = convolution(conv, norm)
        self.bn1 = normalization(norm, channels)
        self.act = activation(config.activation)
        poolings = (down_ratio // stride).bit_length() - 1
        self.pool = nn.Sequential(*(nn.MaxPool2d(3, 2, 1) for _ in range(poolings)))
        self.exit: nn.Module = nn.Conv2d(channels, 3, 1) if image else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] -> features [B,channels or 3,ceil(H / down_ratio),ceil(W / down_ratio)]."""
        return self.exit(self.pool(self.act(self.bn1(self.conv1(images)))))


class UNetExtractor(nn.Module):
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
