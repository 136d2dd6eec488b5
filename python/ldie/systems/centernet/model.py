# SPDX-License-Identifier: Apache-2.0
"""The networks: one extractor per scale, one detector for all, one discriminator of scales."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ldie.nn import ConvBlock, ResidualBlock, activation, normalization
from ldie.nn.blocks import convolution
from ldie.systems.centernet.config import DetectorConfig, DiscriminatorConfig, ExtractorConfig

FOCAL_PRIOR_BIAS = -2.19
"""logit(0.1): every cell starts as a rare positive, which keeps the first focal losses finite (arXiv:1708.02002)."""


class Maps(NamedTuple):
    """Outputs of the detector on the common feature map."""

    heatmap: Tensor  # [B,C,H,W], logits of the box centres
    wh: Tensor  # [B,2,H,W], width and height in cells
    offset: Tensor  # [B,2,H,W], centre minus its cell


class Extractor(nn.Module):
    """Brings the images of one scale into the common feature space.

    A stem of stride ``down_ratio`` that begins with a 7 x 7 convolution, a U-Net block (arXiv:1505.04597) with
    ``depth`` halvings, a 3 x 3 convolution with normalisation. Any input size goes: feature maps are
    [ceil(H / down_ratio), ceil(W / down_ratio)].

    Args:
        config: Depth, activation, normalisation.
        down_ratio: Input pixels per cell.
        channels: Channels of the common feature space.
    """

    def __init__(self, config: ExtractorConfig, down_ratio: int, channels: int) -> None:
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
        """Images [B,3,H,W] -> features [B,channels,ceil(H / down_ratio),ceil(W / down_ratio)]."""
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


class Detector(nn.Module):
    """CenterNet (arXiv:1904.07850): residual stages down, transposed convolutions up, heads on the input's grid.

    Args:
        config: Widths, blocks, head channels, activation, normalisation.
        num_classes: Channels of the centre heatmap.
    """

    def __init__(self, config: DetectorConfig, num_classes: int) -> None:
        super().__init__()
        norm, act = config.normalization, config.activation
        widths = config.widths
        stages, inputs = [], config.input_channel
        for level, width in enumerate(widths):
            blocks = [ResidualBlock(inputs, width, 1 if level == 0 else 2, norm, act)]
            blocks += [ResidualBlock(width, width, 1, norm, act) for _ in range(config.blocks - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.ups = nn.ModuleList(
            nn.Sequential(
                ConvBlock(deep, shallow, norm=norm, act=act),
                nn.ConvTranspose2d(shallow, shallow, 4, 2, 1, bias=False),
                normalization(norm, shallow),
            )
            for deep, shallow in zip(widths[:0:-1], widths[-2::-1])
        )
        self.act = activation(act)
        self.heatmap = Head(config, widths[0], num_classes, bias=FOCAL_PRIOR_BIAS)
        self.wh = Head(config, widths[0], 2, std=0.001)
        self.offset = Head(config, widths[0], 2, std=0.001)

    def forward(self, features: Tensor) -> Maps:
        """Features [B,input_channel,H,W] -> maps on the same grid."""
        height, width = features.shape[2:]
        multiple = 2 ** len(self.ups)
        x = nn.functional.pad(features, (0, -width % multiple, 0, -height % multiple))
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up in self.ups:
            x = self.act(up(x) + skips.pop())
        x = x[:, :, :height, :width]
        return Maps(self.heatmap(x), self.wh(x), self.offset(x))


class Head(nn.Sequential):
    """A map of predictions on the grid: 3 x 3 convolution, activation, 1 x 1 convolution.

    Args:
        config: Hidden channels and activation.
        inputs: Input channels.
        outputs: Output channels.
        bias: Output of the untrained head.
        std: Spread of the last weights; None: torch's default.
    """

    def __init__(
        self, config: DetectorConfig, inputs: int, outputs: int, bias: float = 0.0, std: float | None = None
    ) -> None:
        last = nn.Conv2d(config.head_channel, outputs, 1)
        nn.init.constant_(last.get_parameter("bias"), bias)
        if std is not None:
            nn.init.normal_(last.weight, std=std)
        super().__init__(nn.Conv2d(inputs, config.head_channel, 3, padding=1), activation(config.activation), last)


class Discriminator(nn.Sequential):
    """Scores [B,num_scales,H,W] of features [B,channels,H,W]: convolution, residual blocks, convolution.

    Args:
        config: Hidden channels, blocks, activation, normalisation (spectral by default: it bounds the slope, which
            the Wasserstein loss needs).
        channels: Channels of the common feature space.
        num_scales: Scales to tell apart.
    """

    def __init__(self, config: DiscriminatorConfig, channels: int, num_scales: int) -> None:
        norm, act, hidden = config.normalization, config.activation, config.hidden_channel
        super().__init__(
            ConvBlock(channels, hidden, norm=norm, act=act),
            *(ResidualBlock(hidden, hidden, norm=norm, act=act) for _ in range(config.blocks)),
            convolution(nn.Conv2d(hidden, num_scales, 3, padding=1), norm),
        )
