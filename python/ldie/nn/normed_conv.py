# SPDX-License-Identifier: Apache-2.0
"""A convolution with its normalisation inside, under detectron2's names: ``conv.weight``, ``conv.norm.*``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from ldie.nn.blocks import normalization
from ldie.nn.frozen_norm import FrozenBatchNorm2d

NormName = Literal["frozen", "batch", "group", "none"]
NormLayer = Callable[[int], nn.Module]
"""A normalisation of so many channels."""


def norm_layer(name: NormName, frozen_eps: float = 1e-5) -> NormLayer | None:
    """The normalisation of that name; None for ``none``."""
    if name == "none":
        return None
    return partial(FrozenBatchNorm2d, eps=frozen_eps) if name == "frozen" else partial(normalization, name)


class NormedConv2d(nn.Conv2d):
    """k x k convolution, normalisation, ReLU; keeps the size (divided by ``stride``). Weights start as He's.

    A bias is there where no normalisation is. Frozen norms are multiplied into the weights, which is the same and saves
    a pass over the activations, forward and backward.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Odd kernel size.
        stride: Stride; the output has ceil(size / stride) cells.
        norm: Normalisation; None: none.
        relu: Whether a ReLU follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        norm: NormLayer | None = None,
        relu: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=norm is None)
        self.norm = norm(outputs) if norm else None
        self.relu = relu

    def reset_parameters(self) -> None:
        """Weights from the normal distribution of arXiv:1502.01852 for the way back, biases 0."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, ceil(H / stride), ceil(W / stride)]; B may be 0."""
        if isinstance(self.norm, FrozenBatchNorm2d):
            scale, shift = self.norm.factors()
            weight = (self.weight * scale.reshape(-1, 1, 1, 1)).to(x.dtype)
            x = self._conv_forward(x, weight, shift.to(x.dtype))
        else:
            x = super().forward(x)
            x = x if self.norm is None else self.norm(x)
        return x.relu_() if self.relu else x
