# SPDX-License-Identifier: Apache-2.0
"""Parameters of operators from what a decoder has in mind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS

CURVES = (EditOp.COLOR_CURVE, EditOp.TONE_CURVE)
_SEGMENTS = 8
"""Weights of one curve; a colour curve has three of them."""
_LARGEST_LOG = 2.0
_LARGEST_LOG_LEVEL = math.log(2.0)
_TINY = 1e-6

Saturation = Literal["full", "legacy"]
"""Range of the saturation parameter. The published one, -0.2 to 0.8, cannot take colour away: ``full`` is -1 to 1."""


class ParameterHeads(nn.Module):
    """A small network for each operator, and the operator's range behind it.

    Ranges are those of ``EDIT_OPERATORS``, but for ``full`` saturation and for the weights of curves: the published
    ones are unbounded and may add up to nothing; here they are exponentials of numbers between -2 and 2.

    Args:
        width: Of the input.
        operators: In the order of the outputs.
        saturation: ``full`` or ``legacy``.
    """

    def __init__(self, width: int, operators: Sequence[EditOp], saturation: Saturation) -> None:
        super().__init__()
        self.networks = _networks(width, {op: EDIT_OPERATORS[op].parameters for op in operators})
        self.ranges = [_range(op, saturation) for op in operators]

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """The parameters [N, 24] of each token's operator.

        Args:
            x: [N, width].
            tokens: int64 [N]; 0 is END, whose parameters are zeros, as are those behind the ones that an operator has.
        """
        rows = [within(network(x)) for network, within in zip(self.networks.values(), self.ranges, strict=True)]
        table = torch.stack([nn.functional.pad(row, (0, NUM_PARAMETERS - row.shape[1])) for row in rows], 1)
        return _of(table, tokens)


class DiscreteHeads(nn.Module):
    """A small network for each operator that chooses each of its parameters among a few values.

    They are ``EditOperator.levels``: evenly over the operator's range. ``full`` saturation is -1 to 1. Weights of
    curves are 1/2 to 2, even in their logarithms.

    Args:
        width: Of the input.
        operators: In the order of the tokens behind END, which is 0.
        saturation: ``full`` or ``legacy``.
        levels: Values for each parameter, L; at least 2.
    """

    values: Tensor
    """[1 + operators, L], of each token's levels; of END zeros."""
    counts: Tensor
    """int64 [1 + operators], each token's parameters; at most P."""
    curves: Tensor
    """bool [1 + operators], whose parameters are weights of curves."""

    def __init__(self, width: int, operators: Sequence[EditOp], saturation: Saturation, levels: int) -> None:
        super().__init__()
        counts = {op: EDIT_OPERATORS[op].parameters for op in operators}
        self.levels, self.most = levels, max(counts.values())
        self.networks = _networks(width, {op: count * levels for op, count in counts.items()})
        values = [torch.zeros(levels), *(_levels(op, saturation, levels) for op in operators)]
        self.register_buffer("values", torch.stack(values), persistent=False)
        self.register_buffer("counts", torch.tensor([0, *counts.values()]), persistent=False)
        self.register_buffer("curves", torch.tensor([False, *(op in CURVES for op in operators)]), persistent=False)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """The likeliest parameters [N, 24] of each token's operator; see :class:`ParameterHeads`."""
        return self.parameters_at(self.log_probs(x, tokens).argmax(2), tokens)

    def log_probs(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Logarithmic probabilities [N, P, L] of the levels of each token's parameters; even where it has none."""
        rows = [network(x).float().unflatten(1, (-1, self.levels)) for network in self.networks.values()]
        table = torch.stack([nn.functional.pad(row, (0, 0, 0, self.most - row.shape[1])) for row in rows], 1)
        return _of(table, tokens).log_softmax(2)

    def parameters_at(self, levels: Tensor, tokens: Tensor) -> Tensor:
        """The parameters [N, 24] that int64 levels [N, P] of each token's operator mean."""
        return nn.functional.pad(
            self.values[tokens].gather(1, levels) * self.used(tokens), (0, NUM_PARAMETERS - self.most)
        )

    def nearest(self, params: Tensor, tokens: Tensor) -> Tensor:
        """The levels int64 [N, P] that come nearest to parameters [N, 24].

        A curve is one whatever its weights are multiplied by: its logarithms count, less their mean.
        """
        params, curves = params[:, : self.most], self.curves[tokens][:, None]
        logs = _centred(params.clamp(min=_TINY).log())
        wanted = torch.where(curves, logs, params)[..., None]
        values = self.values[tokens]
        values = torch.where(curves, values.clamp(min=_TINY).log(), values)[:, None]
        return (wanted - values).abs().argmin(2)

    def used(self, tokens: Tensor) -> Tensor:
        """Whether each token's operator has the parameter: bool [..., P]."""
        return torch.arange(self.most, device=tokens.device) < self.counts[tokens][..., None]

    def errors(self, x: Tensor, tokens: Tensor, params: Tensor) -> Tensor:
        """Mean cross entropies [N] of the levels nearest to known parameters [N, 24]; 0 for END."""
        chosen = self.log_probs(x, tokens).gather(2, self.nearest(params, tokens)[..., None])[..., 0]
        return -(chosen * self.used(tokens)).sum(1) / self.counts[tokens].clamp(min=1)


def _networks(width: int, outputs: Mapping[EditOp, int]) -> nn.ModuleDict:
    """By name, so that weights find their operator in a model with others."""
    return nn.ModuleDict(
        {
            op.name: nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, count))
            for op, count in outputs.items()
        }
    )


def _of(table: Tensor, tokens: Tensor) -> Tensor:
    """Each row's entry [N, ...] for its token, of a table [N, operators, ...] of all but END, which has zeros."""
    rows = torch.arange(len(tokens), device=tokens.device)
    return torch.cat([torch.zeros_like(table[:, :1]), table], 1)[rows, tokens]


def _centred(logs: Tensor) -> Tensor:
    """Logarithms of weights [N, P], less their mean over each curve; those behind whole curves mean nothing."""
    count = logs.shape[1]
    curves = nn.functional.pad(logs, (0, -count % _SEGMENTS)).unflatten(1, (-1, _SEGMENTS))
    return (curves - curves.mean(2, keepdim=True)).flatten(1)[:, :count]


def _range(op: EditOp, saturation: Saturation) -> Callable[[Tensor], Tensor]:
    if op in CURVES:
        return _positive
    if op is EditOp.SATURATION and saturation == "full":
        return torch.tanh
    return EDIT_OPERATORS[op].head


def _positive(raw: Tensor) -> Tensor:
    return torch.exp(_LARGEST_LOG * torch.tanh(raw / _LARGEST_LOG))


def _levels(op: EditOp, saturation: Saturation, count: int) -> Tensor:
    if op in CURVES:
        return torch.linspace(-_LARGEST_LOG_LEVEL, _LARGEST_LOG_LEVEL, count).exp()
    operator = EDIT_OPERATORS[op]
    if op is EditOp.SATURATION and saturation == "full":
        operator = replace(operator, low=-1.0, high=1.0)
    return operator.levels(count)
