# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation whose statistics and factors are constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ldie.weights.names import COUNTERS


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation that neither learns nor follows the data: one factor and one summand for each channel.

    It takes the weights of an ordinary batch norm; the counter is dropped. Nothing of it is a parameter, so no
    optimizer changes it.

    Args:
        channels: Channels.
        eps: What is added to the variances.

    Example:
        >>> norm = FrozenBatchNorm2d(8, eps=0.0)
        >>> norm.load_state_dict(nn.BatchNorm2d(8).state_dict())
        <All keys matched successfully>
        >>> list(norm.parameters())
        []
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Scale and shift by channel, at least in single precision: half precision would lose small variances."""
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        scale = self.weight.to(wide) * (self.running_var.to(wide) + self.eps).rsqrt()
        return scale, self.bias.to(wide) - self.running_mean.to(wide) * scale

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same, in the same dtype."""
        scale, shift = (factor.to(x.dtype).reshape(-1, 1, 1) for factor in self.factors())
        return torch.addcmul(shift, x, scale)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{len(self.weight)}, eps={self.eps}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.pop(prefix + COUNTERS.removeprefix("."), None)
        super()._load_from_state_dict(state_dict, prefix, *rest)
