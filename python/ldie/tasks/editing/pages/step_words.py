# SPDX-License-Identifier: Apache-2.0
"""A recipe's steps in words."""

from __future__ import annotations

from ldie_ext import RecipeExecutor, RecipeStep
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

_KINDS = {**EDIT_KINDS, **RecipeExecutor().kinds}


def words(step: RecipeStep, curves: bool = False) -> str:
    """An operator, its numbers and where it acts; see :func:`numbers`."""
    return " ".join(filter(None, (step.name.lower().replace("_", " "), numbers(step, curves))))


def numbers(step: RecipeStep, curves: bool = False) -> str:
    """A step's numbers, of curves only where these are asked for, with a mean of 1; and where it acts."""
    curve = _KINDS[step.name].curve
    shown = " ".join(f"{value:+.3g}" for value in step.params)
    if curve:
        rows = [step.params[first : first + curve] for first in range(0, len(step.params), curve)]
        whole = ", ".join(" ".join(f"{value * curve / sum(row):.2f}" for value in row) for row in rows)
        shown = whole if curves else "a curve"
    place = "" if step.mask is None else f"{'outside of' if step.exclusive else 'in'} mask {step.mask}"
    return ", ".join(filter(None, (shown, place)))
