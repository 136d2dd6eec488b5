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
    """k x k convolution, normalisation, activation; keeps the size (divided by ``stride``) unless ``valid``.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Odd kernel size.
        stride: Stride; the output has ceil(size / stride) cells.
        norm: Normalisation.
        act: Activation.
        valid: No padding: the output loses kernel // 2 cells on each side.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        norm: Normalization = "batch",
        act: Activation = "relu",
        valid: bool = False,
    ) -> None:
        bias = norm in ("none", "spectral")
        conv = nn.Conv2d(inputs, outputs, kernel, stride, 0 if valid else kernel // 2, bias=bias)
        super().__init__(convolution(conv, norm), normalization(norm, outputs), activation(act))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (arXiv:1512.03385), a 1 x 1 convolution where the shape changes.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        stride: Stride of the first convolution and of the shortcut.
        norm: Normalisation.
        act: Activation.
        valid: No padding: the output loses 2 cells on each side; only for stride 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        norm: Normalization = "batch",
        act: Activation = "relu",
        valid: bool = False,
    ) -> None:
        super().__init__()
        if valid and stride != 1:
            raise ValueError(f"a residual block without padding needs stride 1, got {stride}")
        bias = norm in ("none", "spectral")
        padding = 0 if valid else 1
        self.margin = 2 if valid else 0
        self.first = ConvBlock(inputs, outputs, 3, stride, norm, act, valid)
        self.second = nn.Sequential(
            convolution(nn.Conv2d(outputs, outputs, 3, padding=padding, bias=bias), norm), normalization(norm, outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                convolution(nn.Conv2d(inputs, outputs, 1, stride, bias=bias), norm), normalization(norm, outputs)
            )
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, ceil(H / stride), ceil(W / stride)], or [.., H - 4, W - 4] if valid."""
        return self.act(self.second(self.first(x)) + self.shortcut(center_crop(x, self.margin)))


def center_crop(x: Tensor, margin: int) -> Tensor:
    """``x`` [..., H, W] without ``margin`` cells on each side."""
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin] if margin else x
