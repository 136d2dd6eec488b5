# SPDX-License-Identifier: Apache-2.0
"""Building blocks shared by the systems' networks."""

from ldie.nn.blocks import ConvBlock, ResidualBlock, activation, normalization

__all__ = ["ConvBlock", "ResidualBlock", "activation", "normalization"]
