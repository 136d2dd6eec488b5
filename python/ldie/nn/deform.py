# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution that predicts its own offsets and weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ldie_ext.nn
from ldie.nn.blocks import Activation, Normalization, activation, convolution, normalization


class ModulatedDeformConv(nn.Module):
    """3 x 3 convolution whose 9 taps move and are weighted, by an ordinary convolution of the input (arXiv:1811.11168).

    The ordinary convolution has 27 outputs, 2 coordinates and a weight for each tap, and starts at zero: taps on the
    grid, weights sigmoid(0) = 0.5.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        bias: Whether a bias is added.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.predict = nn.Conv2d(inputs, 27, 3, padding=1)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.get_parameter("bias"))
        self.conv = ldie_ext.nn.DeformConv2d(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W]."""
        offset, mask = torch.split(self.predict(x), [18, 9], dim=1)
        return self.conv(x, offset, mask.sigmoid())


class DeformBlock(nn.Sequential):
    """Modulated deformable convolution, normalisation, activation: the counterpart of :class:`ConvBlock`.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        norm: Normalisation.
        act: Activation.
    """

    def __init__(self, inputs: int, outputs: int, norm: Normalization = "batch", act: Activation = "relu") -> None:
        deform = ModulatedDeformConv(inputs, outputs, bias=norm in ("none", "spectral"))
        convolution(deform.conv, norm)
        super().__init__(deform, normalization(norm, outputs), activation(act))
