"""Every order of a few different operators, all parameters of an order fitted together; fewest parameters first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from ldie_ext.ops.editing._plans import Order, Plan, Step, free_parameters, simplest_first, unused

__all__: list[str] = []

FitOrders = Callable[[Sequence[Order]], Sequence[Plan]]


def joint_search(
    unedited: Plan,
    candidates: Sequence[Step],
    max_steps: int,
    fit: FitOrders,
    floor: float,
    tolerance: float,
) -> list[Plan]:
    """All plans that were fitted, the chosen one first: see :func:`simplest_first`.

    Orders are fitted in groups of equally many parameters, few before many. A group that reaches the floor, but for
    the tolerance, is the last: the rule prefers it to whatever more parameters could still follow of the noise.

    Args:
        unedited: the plan without steps.
        candidates: what a step can be; an order has no operator twice.
        max_steps: the length of the longest orders.
        fit: plans of some orders, one each or fewer where it sees early that they lead nowhere.
        floor: the distance that the target's noise alone leaves.
        tolerance: as for :func:`simplest_first`.
    """
    plans, enough = [unedited], floor + tolerance
    for orders in groups(candidates, max_steps):
        if min(plan.distance for plan in plans) <= enough:
            break
        plans += fit(orders)
    return simplest_first(plans, floor, tolerance)


def groups(candidates: Sequence[Step], max_steps: int) -> Iterator[list[Order]]:
    """Orders of 1 to max_steps steps in lists of equally many parameters, ascending."""
    orders = sorted(all_orders(candidates, max_steps), key=free_parameters)
    for _, group in groupby(orders, free_parameters):
        yield list(group)


def all_orders(candidates: Sequence[Step], max_steps: int) -> list[Order]:
    """Every sequence of 1 to max_steps candidates without an operator twice, short ones first."""
    longest: list[Order] = [()]
    orders: list[Order] = []
    for _ in range(max_steps):
        longest = [(*order, step) for order in longest for step in unused(candidates, order)]
        orders += longest
    return orders


def count_orders(candidates: Sequence[Step], max_steps: int) -> int:
    """How many :func:`all_orders` gives, without making them."""
    places: dict[str, int] = {}
    for step in candidates:
        places[step.name] = places.get(step.name, 0) + 1
    ways = [1, *[0] * max_steps]  # of choosing k different operators with a place each, in no order
    for count in places.values():
        for k in range(max_steps, 0, -1):
            ways[k] += ways[k - 1] * count
    total, factorial = 0, 1
    for k in range(1, max_steps + 1):
        factorial *= k
        total += ways[k] * factorial
    return total
