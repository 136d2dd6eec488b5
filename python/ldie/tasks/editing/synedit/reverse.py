# SPDX-License-Identifier: Apache-2.0
"""What takes an edit back: the operator that comes nearest to undoing another, and its parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.errors import ConfigError
from ldie_ext import EditOp, EditOperator, edit_distances
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

REVERSES: Mapping[EditOp, EditOp] = {
    EditOp.BRIGHTNESS: EditOp.BRIGHTNESS,
    EditOp.CONTRAST: EditOp.CONTRAST,
    EditOp.BLUR: EditOp.SHARPNESS,
    EditOp.SHARPNESS: EditOp.BLUR,
}
"""Which operator takes back which."""
_CANDIDATES, _ROUNDS = 17, 6


@dataclass(frozen=True)
class Reverse:
    """An edit that takes another one back, as far as that can be."""

    op: EditOp
    param: float
    before: float
    """How far the edited picture is from the original: the root of the mean square, in levels of 255."""
    after: float
    """How far it is with the reverse applied."""


def reverse_edit(edited: Tensor, original: Tensor, op: EditOp) -> Reverse:
    """The reverse of one edit of the whole picture.

    The parameter is the one in its operator's range that minimises ``||f(edited; p) - original||_2``. Clipped pixels,
    rounding to bytes and the frequencies that a blur removed do not come back.

    Args:
        edited: uint8 [H, W, 3], what the edit made.
        original: uint8 [H, W, 3], what it was made of.
        op: the edit's operator, one of :data:`REVERSES`.

    Raises:
        ConfigError: An operator without a reverse, or pictures of different sizes.

    Example:
        >>> original = torch.arange(192, dtype=torch.uint8).view(8, 8, 3)
        >>> darker = original.div(2, rounding_mode="floor")
        >>> reverse = reverse_edit(darker, original, EditOp.BRIGHTNESS)
        >>> reverse.op.name, round(reverse.param, 1)
        ('BRIGHTNESS', 1.0)
    """
    if op not in REVERSES:
        known = ", ".join(known.name for known in REVERSES)
        raise ConfigError(f"op must be one of {known}, which have a reverse, got {getattr(op, 'name', op)}")
    if edited.shape != original.shape:
        raise ConfigError(f"edited must be as large as the original, {list(original.shape)}, got {list(edited.shape)}")
    reverse = EDIT_OPERATORS[REVERSES[op]]
    source, target = (picture.permute(2, 0, 1)[None].contiguous() for picture in (edited, original))
    low, high = reverse.low, reverse.high
    for _ in range(_ROUNDS):  # each narrows the range to the neighbours of the best, an eighth of it
        candidates = torch.linspace(low, high, _CANDIDATES)
        distances = _distances(source, target, reverse, candidates)
        best = int(distances.argmin())
        low, high = float(candidates[max(0, best - 1)]), float(candidates[min(_CANDIDATES - 1, best + 1)])
    before = _distances(source, target, reverse, torch.tensor([reverse.start]))
    return Reverse(reverse.op, float(candidates[best]), float(before[0]), float(distances[best]))


def _distances(source: Tensor, target: Tensor, operator: EditOperator, values: Tensor) -> Tensor:
    """Of each candidate [P], in levels; what the operator makes of the bytes is not rounded to bytes."""
    ops = torch.full((1, len(values), 1), int(operator.op))
    return (
        255 * edit_distances(source, target, ops, operator.row(values[:, None])[None, :, None], metric="l2")[0].sqrt()
    )
