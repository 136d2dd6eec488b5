"""The operators that edit an image: their numbers, parameters, limits, and the heads' ranges, as data."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["EditOp", "EditOperator"]

#: The width of a row of parameters, whatever its operator uses of it.
NUM_PARAMETERS = 24

#: The nearest float32 of a parameter's limit may lie this much beyond it.
LIMIT_SLACK = 1e-6


class EditOp(enum.IntEnum):
    """Operators by their numbers in ``ops``; csrc/editing/edit_op.h has the same."""

    NONE = 0
    BRIGHTNESS = 1
    CONTRAST = 2
    SATURATION = 3
    COLOR_CURVE = 4
    TONE_CURVE = 5
    SHARPNESS = 6
    EXPOSURE = 7
    BLACK_WHITE = 8
    WHITE_BALANCE = 9
    HUE = 10
    LIGHTNESS = 11
    BLUR = 12
    EDGE = 13
    COLOR_BG = 14
    COLORIZE = 15


@dataclass(frozen=True)
class EditOperator:
    """What an operator's parameters are.

    Attributes:
        op: the operator.
        parameters: how many of the row's 24 it uses, from the first on.
        start: of each parameter, where a search begins: the image stays as it is, but for those that always change it.
        low: the least that each should be.
        high: the most.
        head: from a network's raw outputs [..., parameters] to parameters; 0 need not become the start.
        differentiable: whether the result has gradients in the parameters.
    """

    op: EditOp
    parameters: int
    start: float
    low: float
    high: float
    head: Callable[[Tensor], Tensor]
    differentiable: bool = True

    def row(self, values: Tensor | float | None = None) -> Tensor:
        """Parameters [..., parameters] as a row [..., 24], zeros behind them; without values, the start."""
        given = torch.full((self.parameters,), self.start) if values is None else torch.as_tensor(values)
        if given.dim() == 0:
            given = given[None]
        if given.shape[-1] != self.parameters:
            raise ValueError(f"values must be {self.parameters} for {self.op.name}, got {given.shape[-1]}")
        return torch.nn.functional.pad(given.float() if not given.is_floating_point() else given,
                                       (0, NUM_PARAMETERS - self.parameters))  # fmt: skip

    def levels(self, steps: int = 10) -> Tensor:
        """The values of a discrete parameter: an even number of them has no 0 in the middle, where nothing changes."""
        if self.low == -self.high and steps % 2 == 0:
            values = torch.linspace(self.low, self.high, steps + 1)
            return torch.cat([values[: steps // 2], values[steps // 2 + 1 :]])
        return torch.linspace(self.low, self.high, steps)


def _identity(raw: Tensor) -> Tensor:
    return raw


def _tanh(scale: float) -> Callable[[Tensor], Tensor]:
    return lambda raw: scale * torch.tanh(raw)


def _sigmoid(scale: float) -> Callable[[Tensor], Tensor]:
    return lambda raw: scale * torch.sigmoid(raw)


def _saturation(raw: Tensor) -> Tensor:
    """More of it in (0, 0.8), less in (-0.2, 0)."""
    return 0.8 * torch.tanh(torch.relu(raw)) - 0.2 * torch.tanh(torch.relu(-raw))


def _white_balance(raw: Tensor) -> Tensor:
    """Factors whose luminance is 1; the first raw output is not used, for only green and blue move against red."""
    factors = torch.exp(0.5 * torch.tanh(raw) * raw.new_tensor([0.0, 1.0, 1.0]))
    light = (factors * raw.new_tensor([0.27, 0.67, 0.06])).sum(-1, keepdim=True)
    return factors / (1e-5 + light)


def _table(*operators: EditOperator) -> Mapping[EditOp, EditOperator]:
    return MappingProxyType({operator.op: operator for operator in operators})


#: Every operator but NONE.
EDIT_OPERATORS: Mapping[EditOp, EditOperator] = _table(
    EditOperator(EditOp.BRIGHTNESS, 1, 0.0, -2.0, 2.0, _tanh(2.0)),
    EditOperator(EditOp.CONTRAST, 1, 0.0, -1.0, 1.0, _tanh(1.0)),
    EditOperator(EditOp.SATURATION, 1, 0.0, -0.2, 0.8, _saturation),
    EditOperator(EditOp.COLOR_CURVE, 24, 1.0, 0.9, 1.1, _identity),
    EditOperator(EditOp.TONE_CURVE, 8, 1.0, 0.5, 2.0, _identity),
    EditOperator(EditOp.SHARPNESS, 1, 0.0, 0.0, 1.5, _sigmoid(1.5)),
    EditOperator(EditOp.EXPOSURE, 1, 0.0, -3.5, 3.5, _tanh(3.5)),
    EditOperator(EditOp.BLACK_WHITE, 1, 0.0, 0.0, 1.0, _sigmoid(1.0)),
    EditOperator(EditOp.WHITE_BALANCE, 3, 1.0, 0.4, 1.8, _white_balance),
    EditOperator(EditOp.HUE, 1, 0.0, -0.5, 0.5, _tanh(0.5)),
    EditOperator(EditOp.LIGHTNESS, 1, 0.0, -1.0, 1.0, _tanh(1.0)),
    EditOperator(EditOp.BLUR, 1, 0.0, 0.0, 1.0, _sigmoid(1.0)),
    EditOperator(EditOp.EDGE, 1, 0.0, 0.0, 1.0, _sigmoid(1.0)),
    EditOperator(EditOp.COLOR_BG, 1, 0.0, 0.0, 1.0, _sigmoid(1.0), differentiable=False),
    EditOperator(EditOp.COLORIZE, 1, 0.0, 0.0, 1.0, _identity),
)

#: What a stored parameter may be where that is more than the limits above, which are those of heads and searches: fits
#: go beyond them, and the formulas hold. A curve's weights matter by their ratios alone.
VALID_RANGES: Mapping[EditOp, tuple[float, float]] = MappingProxyType(
    {
        EditOp.SATURATION: (-1.0, 4.0),
        EditOp.COLOR_CURVE: (-100.0, 100.0),
        EditOp.TONE_CURVE: (-100.0, 100.0),
        EditOp.SHARPNESS: (0.0, 2.0),
        EditOp.WHITE_BALANCE: (0.0, 10.0),
        EditOp.LIGHTNESS: (-1.0, 2.0),
    }
)
