"""The steps of a recipe that apply_edits does not have, done by an EditExecutor."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ldie_ext.ops.editing.edit_executor import EditExecutor
from ldie_ext.ops.editing.executor_operators import EXECUTOR_OPERATORS, ExecutorOperator
from ldie_ext.ops.editing.recipe_step import RecipeStep, StepKind, weakened

__all__ = ["RecipeExecutor"]


def _kind(operator: ExecutorOperator) -> StepKind:
    """All parameters of an operator have the same limits; of whole numbers there is nothing between two."""
    whole = any(limits.whole for limits in operator.limits)
    low, high = (operator.limits[0].low, operator.limits[0].high) if operator.limits else (0.0, 0.0)
    starts = tuple(float(limits.start) for limits in operator.limits)
    identity = starts if starts and not whole else None
    box = operator.name == "CROP"
    return StepKind(operator.parameters, low, high, identity, 0, None, whole, operator.needs_mask, box)


_KINDS = MappingProxyType({name: _kind(operator) for name, operator in EXECUTOR_OPERATORS.items()})


class RecipeExecutor:
    """An :class:`EditExecutor` as recipes ask for one: what it does, and a step at some strength.

    Args:
        executor: by default one with OpenCV's inpainter, which is imported when a hole is filled.

    Example:
        >>> image = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 3, 1, 4)
        >>> RecipeExecutor().run(image, RecipeStep("FLIP", (0.0,)), None, 1.0)[0, 0]
        tensor([[1.0000, 0.5000, 0.2500, 0.0000]])
    """

    def __init__(self, executor: EditExecutor | None = None) -> None:
        self.executor = EditExecutor() if executor is None else executor

    @property
    def kinds(self) -> Mapping[str, StepKind]:
        """Its steps by name."""
        return _KINDS

    def run(self, images: Tensor, step: RecipeStep, mask: Tensor | None, strength: float) -> Tensor:
        """The images after a step; one that no parameter makes weaker is blended with them.

        Args:
            images: float [B, 3, H, W] in [0, 1].
            step: one of its own, within its limits.
            mask: bool [H, W], true where the step acts; None: everywhere.
            strength: 0 to 1, how much of the step.

        Raises:
            ValueError: an object without a mask.
            ModuleNotFoundError: OpenCV is needed and not installed.
        """
        kind, place = _KINDS[step.name], mask
        if kind.identity is None and strength < 1:
            whole = torch.ones(images.shape[2:], device=images.device) if mask is None else mask.float()
            place = strength * whole
        return self.executor.apply(images, step.name, weakened(step, kind, strength).params, place)
