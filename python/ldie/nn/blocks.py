# SPDX-License-Identifier: Apache-2.0
"""Convolution and residual blocks with a choice of normalisation and activation."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Activation = Literal["relu", "leaky_relu"]
Normalization = Literal["batch", "group", "spectral", "none"]


def activation(name: Activation) -> nn.Module:
    """The activation module called ``name``; ``leaky_relu`` has slope 0.01."""
    return {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}[name]()


def normalization(name: Normalization, channels: int) -> nn.Module:
    """The layer that follows a convolution; ``spectral`` acts on the convolution's weight and needs none."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(math.gcd(channels, 32), channels)
    return nn.Identity()


def convolution(conv: nn.Module, norm: Normalization) -> nn.Module:
    """``conv``, its weight divided by its largest singular value when ``norm`` is ``spectral`` (arXiv:1802.05957)."""
    return spectral_norm(conv) if norm == "spectral" else conv


class ConvBlock(nn.Sequential):
    """k x k convolution that keeps the size (divided by ``stride``), normalisation, activation.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Odd kernel size.
        stride: Stride; the output has ceil(size / stride) cells.
        norm: Normalisation.
        act: Activation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        norm: Normalization = "batch",
        act: Activation = "relu",
    ) -> None:
        bias = norm in ("none", "spectral")
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
        super().__init__(convolution(conv, norm), normalization(norm, outputs), activation(act))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (arXiv:1512.03385), a 1 x 1 convolution where the shape changes.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        stride: Stride of the first convolution and of the shortcut.
        norm: Normalisation.
        act: Activation.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, norm: Normalization = "batch", act: Activation = "relu"
    ) -> None:
        super().__init__()
        bias = norm in ("none", "spectral")
        self.first = ConvBlock(inputs, outputs, 3, stride, norm, act)
        self.second = nn.Sequential(
            convolution(nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias), norm), normalization(norm, outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                convolution(nn.Conv2d(inputs, outputs, 1, stride, bias=bias), norm), normalization(norm, outputs)
            )
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        return self.act(self.second(self.first(x)) + self.shortcut(x))
