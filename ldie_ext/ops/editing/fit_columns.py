"""The unknowns of a fit: which parameters a sequence uses, as columns, and their limits, starts and gauge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS, EditOp

__all__: list[str] = []

PIECES = 8
STENCILS = (EditOp.SHARPNESS, EditOp.BLUR, EditOp.EDGE)
CURVES = {EditOp.COLOR_CURVE: 3, EditOp.TONE_CURVE: 1}
OPERATORS = len(EditOp)

#: Where a parameter is looked for. Wider than the heads' ranges where the operator still does something there, and
#: narrower where it does not: below -1 all images are black. A curve's weights are positive and sum to 8.
LIMITS: dict[EditOp, tuple[float, float]] = {
    EditOp.BRIGHTNESS: (-0.95, 2.0),
    EditOp.CONTRAST: (-1.0, 1.0),
    EditOp.SATURATION: (-1.0, 2.0),
    EditOp.COLOR_CURVE: (0.0, float(PIECES)),
    EditOp.TONE_CURVE: (0.0, float(PIECES)),
    EditOp.SHARPNESS: (0.0, 2.0),
    EditOp.EXPOSURE: (-3.5, 3.5),
    EditOp.BLACK_WHITE: (0.0, 1.0),
    EditOp.WHITE_BALANCE: (0.1, 4.0),
    EditOp.HUE: (-0.5, 0.5),
    EditOp.LIGHTNESS: (-0.95, 2.0),
    EditOp.BLUR: (0.0, 1.0),
    EditOp.EDGE: (0.0, 1.0),
    EditOp.COLORIZE: (0.0, 1.0),
}

#: What is added to an operator's start in the first, second, .. start of a fit; the last goes on. Signs of brightness
#: come first: what has gone into white or black once has no gradient back.
OFFSETS: dict[EditOp, tuple[float, ...]] = {
    EditOp.BRIGHTNESS: (0.0, 0.3, -0.3, 0.0, 0.0, 0.6, -0.5),
    EditOp.EXPOSURE: (0.0, 0.5, -0.5, 0.0, 0.0, 1.0, -1.0),
    EditOp.LIGHTNESS: (0.0, 0.3, -0.3, 0.0, 0.0, 0.6, -0.5),
    EditOp.CONTRAST: (0.0, 0.0, 0.0, 0.5, -0.5, -0.5, 0.5),
    EditOp.SATURATION: (0.0, 0.0, 0.0, -0.4, 0.4, 0.4, -0.4),
    EditOp.BLACK_WHITE: (0.0, 0.5, 0.0, 0.5, 0.0, 0.8, 0.2),
    EditOp.HUE: (0.0, 0.15, -0.15, 0.3, -0.3, 0.45, -0.45),
    EditOp.COLORIZE: (0.0, 0.33, 0.67, 0.17, 0.5, 0.83, 0.92),
}
MOST_STARTS = max(len(values) for values in OFFSETS.values())


def _by_operator(values: Mapping[EditOp, float]) -> Tensor:
    return torch.tensor([float(values.get(op, 0)) for op in EditOp], dtype=torch.float64)


def _start(number: int) -> dict[EditOp, float]:
    return {op: each.start + (OFFSETS[op][number] if op in OFFSETS else 0) for op, each in EDIT_OPERATORS.items()}


# White background does not use its parameter.
_COUNTS = _by_operator({op: each.parameters for op, each in EDIT_OPERATORS.items() if op is not EditOp.COLOR_BG}).long()
_NUM_CURVES = _by_operator(CURVES).long()
_STENCILS = _by_operator(dict.fromkeys(STENCILS, 1)).long()
_LOW = _by_operator({op: low for op, (low, _) in LIMITS.items()})
_HIGH = _by_operator({op: high for op, (_, high) in LIMITS.items()})
_STARTS = torch.stack([_by_operator(_start(number)) for number in range(MOST_STARTS)])


@dataclass(frozen=True)
class Columns:
    """The used parameters of Q sequences of K steps, side by side.

    Attributes:
        place: int64 [Q, N], which of the K * 24 parameters a column is; K * 24 where it is none.
        used: bool [Q, N].
        low, high: float64 [Q, N].
        same_curve: float64 [Q, N, N], 1 where two columns are weights of one curve.
        curved: bool [Q, N], whether a column is a curve's.
        steps: K.
        stencils: whether a sequence has one.
    """

    place: Tensor
    used: Tensor
    low: Tensor
    high: Tensor
    same_curve: Tensor
    curved: Tensor
    steps: int
    stencils: bool

    @staticmethod
    def of(ops: Tensor) -> Columns:
        """Of ops [Q, K]; operators that there are not have none. The host reads once how many the widest has."""
        steps = ops.shape[1]
        known = torch.where((ops >= 0) & (ops < OPERATORS), ops, 0)
        counts = _COUNTS.to(ops.device)[known]
        parameter = torch.arange(NUM_PARAMETERS, device=ops.device)
        used = (parameter < counts[..., None]).flatten(1)
        width, stencils = 0, 0
        if ops.numel() > 0:
            width, stencils = torch.stack([counts.sum(1).max(), _STENCILS.to(ops.device)[known].max()]).tolist()
        order = torch.argsort(used.logical_not().long(), dim=1, stable=True)[:, :width]
        used = used.gather(1, order)
        step, which = order // NUM_PARAMETERS, order % NUM_PARAMETERS
        op = known.gather(1, step)
        curves = _NUM_CURVES.to(ops.device)[op]
        curved = (curves > 0) & used
        curve = torch.where(curved, step * 3 + which // PIECES, -1)
        same = (curve[:, :, None] == curve[:, None]) & curved[:, None]
        place = torch.where(used, order, NUM_PARAMETERS * steps)
        low, high = (table.to(ops.device)[op] * used for table in (_LOW, _HIGH))
        return Columns(place, used, low, high, same.double(), curved, steps, stencils > 0)

    def starts(self, ops: Tensor, number: int) -> Tensor:
        """The columns' values at a start of the fixed list."""
        step = self.place.clamp(max=max(self.steps * NUM_PARAMETERS - 1, 0)) // NUM_PARAMETERS
        known = torch.where((ops >= 0) & (ops < OPERATORS), ops, 0).gather(1, step)
        return self.inside(_STARTS[number].to(ops.device)[known] * self.used)

    def gather(self, params: Tensor) -> Tensor:
        """Of params [Q, K, 24]."""
        flat = torch.nn.functional.pad(params.double().flatten(1), (0, 1))
        return flat.gather(1, self.place)

    def scatter(self, values: Tensor) -> Tensor:
        """Params [Q, K, 24] of values [Q, N], zero where nothing is used."""
        flat = values.new_zeros(len(values), self.steps * NUM_PARAMETERS + 1)
        return flat.scatter(1, self.place, values * self.used)[:, :-1].unflatten(1, (self.steps, NUM_PARAMETERS))

    def inside(self, values: Tensor) -> Tensor:
        """Between their limits, and each curve's weights brought to their sum, 8, which leaves the curve as it is."""
        clamped = torch.minimum(torch.maximum(values, self.low), self.high)
        sums = (self.same_curve @ clamped[..., None])[..., 0]
        return torch.where(self.curved, clamped * (PIECES / sums.clamp(min=1e-6)), clamped)

    def __getitem__(self, rows: Tensor) -> Columns:
        """Of some of the sequences, by their numbers."""
        return replace(
            self,
            place=self.place[rows],
            used=self.used[rows],
            low=self.low[rows],
            high=self.high[rows],
            same_curve=self.same_curve[rows],
            curved=self.curved[rows],
        )
