# SPDX-License-Identifier: Apache-2.0
"""Residual networks (arXiv:1512.03385) under detectron2's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from ldie.nn.normed_conv import NormedConv2d, NormLayer, NormName, norm_layer


class ResNet(nn.Module):
    """A stem of stride 4 and stages of residual blocks, each half as fine as the one before.

    The stages are called ``res2``, ``res3``, ...: stage s has stride 2^s.

    Args:
        stem: ``conv7``: 7 x 7 of stride 2 and max-pooling of stride 2; ``conv3``: 3 x 3 of stride 2, and the first
            stage halves, too.
        stem_channel: Channels of the stem.
        block: ``bottleneck``: 1 x 1, 3 x 3, 1 x 1, a quarter as wide inside; ``basic``: two of 3 x 3.
        blocks: Blocks of each stage.
        widths: Output channels of each stage.
        stride_in_1x1: A bottleneck halves in its first 1 x 1 convolution instead of its 3 x 3.
        normalization: After each convolution.
        frozen_eps: What ``frozen`` norms add to variances.
    """

    def __init__(
        self,
        *,
        stem: Literal["conv7", "conv3"] = "conv7",
        stem_channel: int = 64,
        block: Literal["bottleneck", "basic"] = "bottleneck",
        blocks: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (256, 512, 1024, 2048),
        stride_in_1x1: bool = False,
        normalization: NormName = "frozen",
        frozen_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        norm = norm_layer(normalization, frozen_eps)
        self.widths = tuple(widths)
        self.frozen_parts = 0
        self.stem = _Stem(stem_channel, stem == "conv7", norm)
        self.stage_names = [f"res{stage}" for stage in range(2, len(blocks) + 2)]
        inputs = stem_channel
        for name, count, width in zip(self.stage_names, blocks, widths, strict=True):
            halves = name != "res2" or stem == "conv3"
            strides = [2 if halves else 1] + [1] * (count - 1)
            sizes = zip([inputs] + [width] * (count - 1), strides)
            self.add_module(
                name,
                nn.Sequential(*(_block(block, before, width, stride, stride_in_1x1, norm) for before, stride in sizes)),
            )
            inputs = width

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [B,3,H,W] -> the stages' maps [B,width,ceil(H / stride),ceil(W / stride)], the finest first."""
        x = self.stem(images)
        maps = []
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

    def freeze(self, parts: int) -> None:
        """Makes constants of the first parts: 1 the stem, 2 ``res2``, too, and so on.

        Their parameters get no gradients, and their norms no statistics, also in training mode.
        """
        self.frozen_parts = parts
        for part in self._frozen():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ResNet:
        """See :meth:`torch.nn.Module.train`; frozen parts stay in eval mode."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        return [self.get_submodule(name) for name in ["stem", *self.stage_names][: self.frozen_parts]]


class _Stem(nn.Module):
    def __init__(self, channels: int, pooled: bool, norm: NormLayer | None) -> None:
        super().__init__()
        self.conv1 = NormedConv2d(3, channels, 7 if pooled else 3, stride=2, norm=norm, relu=True)
        self.pooled = pooled

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images)
        return nn.functional.max_pool2d(x, 3, stride=2, padding=1) if self.pooled else x


class _Block(nn.Module):
    """Convolutions ``conv1``, ``conv2``, ... and a ``shortcut``, a 1 x 1 convolution where the shape changes."""

    def __init__(self, convs: Sequence[NormedConv2d], shortcut: NormedConv2d | None) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.names = [f"conv{index}" for index in range(1, len(convs) + 1)]
        for name, conv in zip(self.names, convs):
            self.add_module(name, conv)

    def forward(self, x: Tensor) -> Tensor:
        result = x
        for name in self.names:
            result = self.get_submodule(name)(result)
        return result.add_(x if self.shortcut is None else self.shortcut(x)).relu_()


def _block(kind: str, inputs: int, outputs: int, stride: int, stride_in_1x1: bool, norm: NormLayer | None) -> _Block:
    if kind == "basic":
        convs = [
            NormedConv2d(inputs, outputs, 3, stride, norm, relu=True),
            NormedConv2d(outputs, outputs, 3, norm=norm),
        ]
    else:
        inner = outputs // 4
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        convs = [
            NormedConv2d(inputs, inner, 1, first, norm, relu=True),
            NormedConv2d(inner, inner, 3, second, norm, relu=True),
            NormedConv2d(inner, outputs, 1, norm=norm),
        ]
    same = stride == 1 and inputs == outputs
    return _Block(convs, None if same else NormedConv2d(inputs, outputs, 1, stride, norm))
