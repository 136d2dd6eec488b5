"""The steps that an executor does and apply_edits does not: their parameters and limits, as data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from ldie_ext.ops.editing.edit_op import NUM_PARAMETERS, EditOp

__all__ = ["ExecutorOperator"]


class Limits(NamedTuple):
    """One parameter: where a search begins, the least and the most that it can be, whether it is a whole number."""

    name: str
    start: float
    low: float
    high: float
    whole: bool = False

    def levels(self, steps: int = 10) -> Tensor:
        """The values of a discrete parameter: all whole numbers, or some that are evenly spaced."""
        return torch.linspace(self.low, self.high, int(self.high - self.low) + 1 if self.whole else steps)


@dataclass(frozen=True)
class ExecutorOperator:
    """What a step of :class:`EditExecutor` is given. It has a name, not a number of :class:`EditOp`.

    Attributes:
        name: the step's name.
        limits: of each parameter.
        needs_mask: whether it edits an object, which a mask must name.
        geometric: whether it moves pixels. A planner leaves it out.
        differentiable: whether the result has gradients in the parameters.
    """

    name: str
    limits: tuple[Limits, ...] = ()
    needs_mask: bool = False
    geometric: bool = False
    differentiable: bool = False

    @property
    def parameters(self) -> int:
        """How many parameters it has."""
        return len(self.limits)

    def row(self, values: Tensor | Iterable[float] | float | None = None) -> Tensor:
        """Parameters [..., parameters] as a row [..., 24], zeros behind them; without values, the starts."""
        given = torch.tensor([each.start for each in self.limits]) if values is None else torch.as_tensor(values)
        if given.dim() == 0:
            given = given[None]
        if given.shape[-1] != self.parameters:
            raise ValueError(f"values must be {self.parameters} for {self.name}, got {given.shape[-1]}")
        given = given if given.is_floating_point() else given.float()
        return torch.nn.functional.pad(given, (0, NUM_PARAMETERS - self.parameters))


_ANGLE = Limits("angle", 0.0, -math.pi, math.pi)
_AXIS = Limits("axis", 0, 0, 1, whole=True)
_BOX = tuple(Limits(name, start, 0.0, 1.0) for name, start in (("x1", 0.0), ("y1", 0.0), ("x2", 1.0), ("y2", 1.0)))

#: Every step of an executor, by its name.
EXECUTOR_OPERATORS: Mapping[str, ExecutorOperator] = MappingProxyType(
    {
        operator.name: operator
        for operator in (
            ExecutorOperator("ROTATE", (_ANGLE,), geometric=True),
            ExecutorOperator("FLIP", (_AXIS,), geometric=True),
            ExecutorOperator("CROP", _BOX, geometric=True),
            ExecutorOperator("ROTATE_OBJ", (_ANGLE,), needs_mask=True, geometric=True),
            ExecutorOperator("FLIP_OBJ", (_AXIS,), needs_mask=True, geometric=True),
            ExecutorOperator("INPAINT_OBJ", needs_mask=True),
            ExecutorOperator("RADIAL_BLUR", (Limits("strength", 0.0, 0.0, 0.2),), differentiable=True),
            ExecutorOperator("FACET_BLUR", (Limits("radius", 1, 1, 4, whole=True),)),
            ExecutorOperator("DENOISE", (Limits("tolerance", 0.0, 0.0, 0.5),), differentiable=True),
            ExecutorOperator("DEHAZE", (Limits("strength", 0.0, 0.0, 1.0),), differentiable=True),
        )
    }
)


class SeedLabel(NamedTuple):
    """A label of the original annotations: what does it here, and its number in the original's vocabulary, if any."""

    label: str
    operator: EditOp | str | None
    number: int | None = None


#: The 23 labels of the original annotations. Numbers below 3 are padding, START and END; of the vocabulary of 27 the
#: others are not published. "hue" and "tint" were the original's names for its two curves. What it has for "deform_obj"
#: is the label alone: there is no definition of what would be deformed, and so none here.
SEED_LABELS: tuple[SeedLabel, ...] = (
    SeedLabel("brightness", EditOp.BRIGHTNESS, 3),
    SeedLabel("contrast", EditOp.CONTRAST, 4),
    SeedLabel("saturation", EditOp.SATURATION, 5),
    SeedLabel("hue", EditOp.COLOR_CURVE, 6),
    SeedLabel("inpaint_obj", "INPAINT_OBJ", 7),
    SeedLabel("tint", EditOp.TONE_CURVE, 8),
    SeedLabel("sharpness", EditOp.SHARPNESS, 9),
    SeedLabel("color_bg", EditOp.COLOR_BG, 10),
    SeedLabel("lightness", EditOp.LIGHTNESS),
    SeedLabel("exposure", EditOp.EXPOSURE),
    SeedLabel("black&white", EditOp.BLACK_WHITE),
    SeedLabel("gaussain_blur", EditOp.BLUR),  # the annotations' own spelling
    SeedLabel("edge", EditOp.EDGE),
    SeedLabel("radial_blur", "RADIAL_BLUR"),
    SeedLabel("facet_blur", "FACET_BLUR"),
    SeedLabel("denoise", "DENOISE"),
    SeedLabel("dehaze", "DEHAZE"),
    SeedLabel("rotate", "ROTATE"),
    SeedLabel("flip", "FLIP"),
    SeedLabel("crop", "CROP"),
    SeedLabel("rotate_obj", "ROTATE_OBJ"),
    SeedLabel("flip_obj", "FLIP_OBJ"),
    SeedLabel("deform_obj", None),
)
