"""One step of a recipe, and what steps of each name take."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ldie_ext._public import shown
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, LIMIT_SLACK, VALID_RANGES, EditOp

__all__ = ["RecipeStep", "StepExecutor", "StepKind"]


@dataclass(frozen=True)
class StepKind:
    """What steps of one name take, and what can be done with them.

    Attributes:
        parameters: how many numbers.
        low: the least that each may be.
        high: the most.
        identity: what leaves the image as it is, for each parameter or for all of them; None where nothing does.
        curve: how many of the parameters are one curve's weights, which matter by their ratios; 0 where there are none.
        halo: how far from a pixel it reads, 0 for one that edits each pixel by itself, None for one that is not
            local: that moves pixels, or looks at the whole image.
        whole: whether the parameters are whole numbers.
        needs_mask: whether it acts on an object, which a mask names.
        box: whether the parameters are a box, x1, y1, x2, y2, which must not be empty.
    """

    parameters: int
    low: float
    high: float
    identity: float | tuple[float, ...] | None = 0.0
    curve: int = 0
    halo: int | None = 0
    whole: bool = False
    needs_mask: bool = False
    box: bool = False


@dataclass(frozen=True)
class RecipeStep:
    """One step of a :class:`Recipe`: an operator by name, its numbers, and where it acts.

    Attributes:
        name: of an operator, as in :class:`EditOp`, or of one that an executor has.
        params: the parameters that it uses, and no others.
        mask: the number of a mask of the recipe; None: the whole image.
        exclusive: whether it acts outside of its mask.

    Example:
        >>> RecipeStep("EXPOSURE", (0.5,)).params
        (0.5,)
    """

    name: str
    params: tuple[float, ...] = ()
    mask: int | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"name must be that of an operator, got {shown(self.name)}")
        if isinstance(self.params, str) or not all(map(_is_number, self.params)):
            raise ValueError(f"params must be numbers, got {str(self.params)[:60]}")
        object.__setattr__(self, "params", tuple(float(value) for value in self.params))
        if self.mask is not None and (type(self.mask) is not int or self.mask < 0):
            raise ValueError(f"mask must be the number of a mask or None, got {shown(self.mask)}")
        if not isinstance(self.exclusive, bool):
            raise ValueError(f"exclusive must be a bool, got {shown(self.exclusive)}")


@runtime_checkable
class StepExecutor(Protocol):
    """Does the steps that apply_edits does not have: geometry, inpainting, blurs that look far."""

    @property
    def kinds(self) -> Mapping[str, StepKind]:
        """Its steps by name."""

    def run(self, images: Tensor, step: RecipeStep, mask: Tensor | None, strength: float) -> Tensor:
        """The images after a step.

        Args:
            images: float [B, 3, H, W] in [0, 1].
            step: one of its own, within its limits.
            mask: bool [H, W], true where the step acts; None: everywhere.
            strength: 0 to 1, how much of the step.
        """


def _edit_kinds() -> Mapping[str, StepKind]:
    without_identity, stencils = (EditOp.COLOR_BG, EditOp.COLORIZE), (EditOp.SHARPNESS, EditOp.BLUR, EditOp.EDGE)
    kinds = {}
    for op, operator in EDIT_OPERATORS.items():
        low, high = VALID_RANGES.get(op, (operator.low, operator.high))
        identity = None if op in without_identity else operator.start
        curve = 8 if op in (EditOp.COLOR_CURVE, EditOp.TONE_CURVE) else 0
        kinds[op.name] = StepKind(operator.parameters, low, high, identity, curve, halo=int(op in stencils))
    return MappingProxyType(kinds)


#: The steps that apply_edits does, by name.
EDIT_KINDS = _edit_kinds()

_LEAST_CURVE_SUM = 1e-6  # that apply_edits takes


def check_step(step: RecipeStep, number: int, kinds: Mapping[str, StepKind], masks: int) -> None:
    """Raises a ValueError for a step that no one has, or whose numbers or mask are not such ones."""
    where = f"steps[{number}]"
    if step.name not in kinds:
        raise ValueError(f"{where}: unknown operator {step.name[:40]!r}; known: {', '.join(kinds)}")
    kind, where = kinds[step.name], f"{where} ({step.name})"
    if len(step.params) != kind.parameters:
        raise ValueError(f"{where}: params must be {kind.parameters} numbers, got {len(step.params)}")
    for i, value in enumerate(step.params):
        if not kind.low - LIMIT_SLACK <= value <= kind.high + LIMIT_SLACK:  # nor where it is no number
            raise ValueError(f"{where}: params[{i}] must be from {kind.low:g} to {kind.high:g}, got {value:g}")
        if kind.whole and value != round(value):
            raise ValueError(f"{where}: params[{i}] must be a whole number, got {value:g}")
    for first in range(0, len(step.params), kind.curve) if kind.curve else ():
        if not is_curve(step.params[first : first + kind.curve]):
            last = first + kind.curve - 1
            raise ValueError(f"{where}: params[{first}] to [{last}], a curve's, must sum to more than 1e-6")
    if kind.box and not all(np.float32(low) < np.float32(high) for low, high in zip(step.params, step.params[2:])):
        raise ValueError(f"{where}: params must have x1 < x2 and y1 < y2, got {list(step.params)}")
    if step.mask is not None and step.mask >= masks:
        raise ValueError(f"{where}: mask must be the number of one of {masks} masks, got {step.mask}")
    if kind.needs_mask and step.mask is None:
        raise ValueError(f"{where}: mask must be the number of a mask, which names the object")
    if step.exclusive and step.mask is None:
        raise ValueError(f"{where}: exclusive must be false without a mask")


def weakened(step: RecipeStep, kind: StepKind, strength: float) -> RecipeStep:
    """The step with its parameters moved towards those that change nothing; as it is where there are none."""
    if strength == 1 or kind.identity is None:
        return step
    params = list(step.params)
    for first in range(0, len(params), kind.curve) if kind.curve else ():  # of mean 1, so that a mean is one of results
        scale = kind.curve / sum(params[first : first + kind.curve])
        params[first : first + kind.curve] = [scale * value for value in params[first : first + kind.curve]]
    still = kind.identity if isinstance(kind.identity, tuple) else (kind.identity,) * len(params)
    return replace(step, params=tuple(start + strength * (value - start) for start, value in zip(still, params)))


def is_curve(weights: Sequence[float]) -> bool:
    """Whether their sum is enough, as apply_edits adds them up in float32: one after the other, rounded each time."""
    return bool(np.cumsum(np.array(weights, np.float32))[-1] > _LEAST_CURVE_SUM)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
