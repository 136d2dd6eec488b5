# SPDX-License-Identifier: Apache-2.0
"""Which operators, in which order, the requests of each split ask for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations, permutations

from ldie_ext import EditOp

SPLITS = ("train", "val", "paraphrase", "combination")
CONTRADICTIONS = (
    {EditOp.SHARPNESS, EditOp.BLUR},
    {EditOp.BLACK_WHITE, EditOp.SATURATION},
    {EditOp.BLACK_WHITE, EditOp.WHITE_BALANCE},
)
"""Together in no request."""
HELD_PAIRS = (
    {EditOp.SATURATION, EditOp.SHARPNESS},
    {EditOp.SATURATION, EditOp.WHITE_BALANCE},
    {EditOp.CONTRAST, EditOp.BLUR},
    {EditOp.SHARPNESS, EditOp.TONE_CURVE},
    {EditOp.BRIGHTNESS, EditOp.BLACK_WHITE},
)
"""Together in requests of the split ``combination`` alone."""
HELD_ORDERS = ((EditOp.SHARPNESS, EditOp.CONTRAST), (EditOp.TONE_CURVE, EditOp.BRIGHTNESS))
"""One before the other in requests of the split ``combination`` alone; the other way round in all."""


Plan = tuple[EditOp, ...]


@cache
def plans(operators: Plan, steps: tuple[int, int], split: str) -> tuple[tuple[Plan, ...], ...]:
    """For each number of steps that is possible, the sequences of different operators that a split may ask for.

    Args:
        operators: Those to choose from.
        steps: How many steps at least and at most.
        split: ``combination`` has the sequences with a pair of :data:`HELD_PAIRS` or :data:`HELD_ORDERS`, the other
            splits those without.
    """
    by_count = (
        tuple(
            plan
            for plan in permutations(operators, count)
            if not _has_pair(plan, CONTRADICTIONS) and is_held(plan) is (split == "combination")
        )
        for count in range(steps[0], steps[1] + 1)
    )
    return tuple(found for found in by_count if found)


def is_held(plan: Sequence[EditOp]) -> bool:
    """Whether a sequence of operators is held out of training."""
    return _has_pair(plan, HELD_PAIRS) or any(pair in HELD_ORDERS for pair in combinations(plan, 2))


def _has_pair(plan: Sequence[EditOp], pairs: Sequence[set[EditOp]]) -> bool:
    return any(pair <= set(plan) for pair in pairs)
