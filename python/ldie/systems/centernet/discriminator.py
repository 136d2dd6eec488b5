# SPDX-License-Identifier: Apache-2.0
"""Discriminators: networks that tell from features which scale they come from."""

from __future__ import annotations

from torch import Tensor, nn

from ldie.nn import ConvBlock, ResidualBlock, activation, convolution
from ldie.systems.centernet.config import DiscriminatorConfig


class ResidualDiscriminator(nn.Sequential):
    """Scores [B,num_scales,H,W] of features [B,channels,H,W]: convolution, residual blocks, convolution.

    Without padding the scores lack ``config.margin`` cells on each side: 12 for the published 5 blocks.

    Args:
        config: Hidden channels, blocks, padding, activation, normalisation (spectral by default: it bounds the slope,
            which the Wasserstein loss needs).
        channels: Channels of the features it looks at.
        num_scales: Scales to tell apart.
    """

    def __init__(self, config: DiscriminatorConfig, channels: int, num_scales: int) -> None:
        hidden, padding = config.hidden_channel, 0 if config.margin else 1
        super().__init__(
            *_trunk(config, channels),
            convolution(nn.Conv2d(hidden, num_scales, 3, padding=padding), config.normalization),
        )


class StyleDiscriminator(nn.Module):
    """Scores [B,num_scales] of features [B,channels,H,W] from the correlations of their channels, wherever they are.

    Convolution and residual blocks, the Gram matrix of arXiv:1508.06576, two linear layers.

    Args:
        config: Hidden channels, blocks, activation, normalisation.
        channels: Channels of the features it looks at.
        num_scales: Scales to tell apart.
    """

    HIDDEN = 1000

    def __init__(self, config: DiscriminatorConfig, channels: int, num_scales: int) -> None:
        super().__init__()
        norm = config.normalization
        self.trunk = nn.Sequential(*_trunk(config, channels))
        self.head = nn.Sequential(
            convolution(nn.Linear(config.hidden_channel**2, self.HIDDEN), norm),
            activation(config.activation),
            convolution(nn.Linear(self.HIDDEN, num_scales), norm),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of any height and width -> scores."""
        return self.head(gram_matrix(self.trunk(features)).flatten(1))


def gram_matrix(x: Tensor) -> Tensor:
    """Correlations of the channels of ``x`` [B,C,H,W]: sum over cells of x_c x_d / (C H W), [B,C,C]."""
    flat = x.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def build_discriminator(config: DiscriminatorConfig, channels: int, num_scales: int) -> nn.Module:
    """The discriminator of ``config.type`` for features [B,channels,H,W]; what stands for none has no weights."""
    if config.type == "none":
        return nn.Identity()
    kind = StyleDiscriminator if config.type == "style" else ResidualDiscriminator
    return kind(config, config.input_channel or channels, num_scales)


def _trunk(config: DiscriminatorConfig, channels: int) -> list[nn.Module]:
    norm, act, hidden, valid = config.normalization, config.activation, config.hidden_channel, config.margin > 0
    return [
        ConvBlock(channels, hidden, norm=norm, act=act, valid=valid),
        *(ResidualBlock(hidden, hidden, norm=norm, act=act, valid=valid) for _ in range(config.blocks)),
    ]
