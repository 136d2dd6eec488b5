# SPDX-License-Identifier: Apache-2.0
"""Parameters of operators from what a decoder has in mind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS

CURVES = (EditOp.COLOR_CURVE, EditOp.TONE_CURVE)
_LARGEST_LOG = 2.0


class ParameterHeads(nn.Module):
    """A small network for each operator, and the operator's range behind it.

    Ranges are those of ``EDIT_OPERATORS``, with two exceptions. The published range of saturation, -0.2 to 0.8, cannot
    take colour away: ``full`` is -1 to 1. The published weights of curves are unbounded and may add up to nothing; here
    they are exponentials of numbers between -2 and 2.

    Args:
        width: Of the input.
        operators: In the order of the outputs.
        saturation: ``full`` or ``legacy``.
    """

    def __init__(self, width: int, operators: Sequence[EditOp], saturation: Literal["full", "legacy"]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(  # by name, so that weights find their operator in a model with others
            {
                op.name: nn.Sequential(
                    nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, EDIT_OPERATORS[op].parameters)
                )
                for op in operators
            }
        )
        self.ranges = [_range(op, saturation) for op in operators]

    def forward(self, x: Tensor) -> Tensor:
        """[N, width] -> the parameters of every operator [N, operators, 24], zeros behind those that it has."""
        rows = (within(network(x)) for network, within in zip(self.networks.values(), self.ranges, strict=True))
        return torch.stack([nn.functional.pad(row, (0, NUM_PARAMETERS - row.shape[1])) for row in rows], 1)


def _range(op: EditOp, saturation: str) -> Callable[[Tensor], Tensor]:
    if op in CURVES:
        return _positive
    if op is EditOp.SATURATION and saturation == "full":
        return torch.tanh
    return EDIT_OPERATORS[op].head


def _positive(raw: Tensor) -> Tensor:
    return torch.exp(_LARGEST_LOG * torch.tanh(raw / _LARGEST_LOG))
