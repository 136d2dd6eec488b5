# SPDX-License-Identifier: Apache-2.0
"""Building blocks shared by the systems' networks."""

from ldie.nn.blocks import ConvBlock, ResidualBlock, activation, center_crop, convolution, normalization
from ldie.nn.deform import DeformBlock, ModulatedDeformConv
from ldie.nn.feature_pyramid import FeaturePyramid
from ldie.nn.frozen_norm import FrozenBatchNorm2d
from ldie.nn.normed_conv import NormedConv2d, NormLayer, NormName, norm_layer
from ldie.nn.resnet import ResNet

__all__ = [
    "ConvBlock",
    "DeformBlock",
    "FeaturePyramid",
    "FrozenBatchNorm2d",
    "ModulatedDeformConv",
    "NormLayer",
    "NormName",
    "NormedConv2d",
    "ResNet",
    "ResidualBlock",
    "activation",
    "center_crop",
    "convolution",
    "norm_layer",
    "normalization",
]
