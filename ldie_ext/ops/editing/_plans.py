"""What a search for edits works on: steps, plans of steps, and which of many plans is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, EditOp
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

__all__: list[str] = []


class Step(NamedTuple):
    """An operator by its name, and where it acts: a mask's number, or None for the whole image."""

    name: str
    mask: int | None = None
    exclusive: bool = False

    @property
    def is_edit(self) -> bool:
        """Whether apply_edits has it."""
        return self.name in EDIT_KINDS

    @property
    def parameters(self) -> int:
        """How many numbers it reads."""
        fitted = self.is_edit and EDIT_OPERATORS[EditOp[self.name]].differentiable
        return EDIT_KINDS[self.name].parameters if fitted else 0

    @property
    def free_parameters(self) -> int:
        """How many of them a fit can choose: a curve is the same at any scale of its weights."""
        curve = EDIT_KINDS[self.name].curve if self.is_edit else 0
        return self.parameters - (self.parameters // curve if curve else 0)


Order = tuple[Step, ...]


def free_parameters(order: Order) -> int:
    """How many numbers a fit of all steps can choose."""
    return sum(step.free_parameters for step in order)


@dataclass(frozen=True)
class Plan:
    """Steps with their parameters [K, 24], and how far from the target they end."""

    order: Order
    params: Tensor
    distance: float

    def __post_init__(self) -> None:
        if math.isnan(self.distance):  # no better than any other
            object.__setattr__(self, "distance", math.inf)

    @property
    def size(self) -> tuple[int, int, float]:
        """What makes one plan simpler than another that is as good: parameters, then steps."""
        return free_parameters(self.order), len(self.order), self.distance


def simplest_first(plans: Iterable[Plan], floor: float, tolerance: float) -> list[Plan]:
    """Plans as good as the best, simplest first, and then the others by distance.

    Args:
        plans: at least one.
        floor: a distance below which a plan only follows the target's noise.
        tolerance: what a plan may be worse than the best, or than the floor where the best is below, to be as good.
    """
    found = list(plans)
    limit = max(floor, min(plan.distance for plan in found)) + tolerance
    good = sorted((plan for plan in found if plan.distance <= limit), key=lambda plan: plan.size)
    others = sorted((plan for plan in found if not plan.distance <= limit), key=lambda plan: plan.distance)
    return good + others


def unused(candidates: Sequence[Step], order: Order) -> list[Step]:
    """The candidates whose operator an order has not got yet."""
    there = {step.name for step in order}
    return [step for step in candidates if step.name not in there]
