# SPDX-License-Identifier: Apache-2.0
"""Building blocks shared by the systems' networks."""

from ldie.nn.blocks import ConvBlock, ResidualBlock, activation, center_crop, convolution, normalization
from ldie.nn.deform import DeformBlock, ModulatedDeformConv

__all__ = [
    "ConvBlock",
    "DeformBlock",
    "ModulatedDeformConv",
    "ResidualBlock",
    "activation",
    "center_crop",
    "convolution",
    "normalization",
]
