"""The planner's searches without images: which orders are fitted, which plans go on, which is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from ldie_ext.ops.editing._greedy_search import Greedy, Partial
from ldie_ext.ops.editing._joint_search import all_orders, count_orders, groups, joint_search
from ldie_ext.ops.editing._plans import Order, Plan, Step, free_parameters, simplest_first
from ldie_ext.ops.editing.quantisation import floor_of, margin_of

BRIGHT, CONTRAST, TONE, COLOR = (Step(name) for name in ("BRIGHTNESS", "CONTRAST", "TONE_CURVE", "COLOR_CURVE"))
NO_IMAGE = torch.zeros(3, 1, 1)


def plan(distance: float, *order: Step) -> Plan:
    return Plan(order, torch.zeros(len(order), 24), distance)


def test_all_orders_are_there_once() -> None:
    orders = all_orders([BRIGHT, CONTRAST, TONE], 2)
    assert len(orders) == len(set(orders)) == 3 + 6
    assert orders[:3] == [(BRIGHT,), (CONTRAST,), (TONE,)]
    places = [Step("BRIGHTNESS", mask) for mask in (None, 0, 1)] + [CONTRAST, TONE]
    for steps in (1, 2, 3, 4):
        assert count_orders(places, steps) == len(all_orders(places, steps))
    assert all(len({step.name for step in order}) == len(order) for order in all_orders(places, 3))


def test_groups_ascend_in_parameters() -> None:
    found = [{free_parameters(order) for order in orders} for orders in groups([COLOR, TONE, BRIGHT, CONTRAST], 2)]
    assert found == [{1}, {2}, {7}, {8}, {21}, {22}, {28}]
    assert free_parameters((Step("COLOR_BG", 0), Step("SOMEONE_S"))) == 0


@pytest.mark.parametrize(("reached", "tried"), [(0.0012, 2), (0.0021, 9)])
def test_search_ends_at_the_floor(reached: float, tried: int) -> None:
    """Where one scalar reaches it, no curve is tried; where nothing does, everything is."""
    asked: list[Order] = []

    def fit(orders: Sequence[Order]) -> list[Plan]:
        asked.extend(orders)
        return [plan(reached if order == (CONTRAST,) else 0.2, *order) for order in orders]

    best = joint_search(plan(0.3), [TONE, BRIGHT, CONTRAST], 2, fit, 0.001, 0.0005)[0]
    assert best.order == (CONTRAST,) and len(asked) == tried
    assert joint_search(plan(0.0014), [TONE], 1, fit, 0.001, 0.0005)[0].order == ()


def test_simplest_of_the_good_ones() -> None:
    plans = [plan(0.0010, COLOR), plan(0.0013, BRIGHT, CONTRAST), plan(0.0012, CONTRAST, BRIGHT), plan(0.0016, BRIGHT)]
    ranked = simplest_first(plans, 0.0, 0.0004)
    assert [each.distance for each in ranked] == [0.0012, 0.0013, 0.0010, 0.0016]
    assert simplest_first(plans, 0.00125, 0.0004)[0].order == (BRIGHT,)  # below the floor is noise
    assert simplest_first(plans, 0.0, 0.0)[0].order == (COLOR,)
    assert simplest_first([plan(math.nan, BRIGHT), plan(0.1)], 0.0, 0.0)[0].order == ()


class Table:
    """Fits by looking up the distance of the operators in their order; others lead away."""

    def __init__(self, distances: dict[str, float]) -> None:
        self.distances, self.asked = distances, list[str]()

    def fit(self, tries: Sequence[tuple[Partial, Step]]) -> list[Partial]:
        return [self.continued(partial, step) for partial, step in tries]

    def continued(self, partial: Partial, step: Step) -> Partial:
        order = (*partial.plan.order, step)
        key = "".join(each.name[0] for each in order)
        self.asked.append(key)
        return Partial(plan(self.distances.get(key, 1.0), *order), NO_IMAGE)


def greedy(table: Table, names: str, **options: object) -> list[str]:
    search = Greedy(**{"stop": 0.01, **options})  # type: ignore[arg-type]
    start = Partial(plan(table.distances.get("", 0.5)), NO_IMAGE)
    plans = search.search(start, [Step(name) for name in names], len(names), table.fit, seed=3)
    return ["".join(each.name for each in found.order) for found in plans]


def test_beam_compares_with_the_level_before() -> None:
    """AC is better than A but not than B, the best of its level: it is no plan, and A stays."""
    table = Table({"A": 0.3, "B": 0.2, "C": 0.4, "AC": 0.25, "BC": 0.15, "BCA": 0.16})
    assert greedy(table, "ABC") == ["BC", "B", "A"]
    assert {"AC", "BCA"} <= set(table.asked) and "AA" not in table.asked


def test_beam_keeps_its_width() -> None:
    table = Table({"A": 0.4, "B": 0.3, "C": 0.2, "D": 0.1, "AB": 0.05})
    assert greedy(table, "ABCD") == ["D", "C", "B"]  # A has gone before AB could be tried
    assert "AB" not in table.asked
    assert greedy(table, "ABCD", width=4) == ["AB", "D", "C", "B"]


def test_near_enough_is_the_end() -> None:
    table = Table({"A": 0.005, "AB": 0.001})
    assert greedy(table, "AB")[0] == "A" and "AB" not in table.asked


def test_fixed_order_leaves_out_what_does_not_help() -> None:
    table = Table({"A": 0.3, "AC": 0.1, "B": 0.2})
    assert greedy(table, "ABC", width=1, fixed=True) == ["AC"]
    assert table.asked == ["A", "AB", "AC"]


def test_drawn_plans_are_the_same_for_a_seed() -> None:
    table = Table({key: 0.4 - 0.01 * i for i, key in enumerate("ABCDEFGH")})
    chosen, drawn = greedy(table, "ABCDEFGH"), greedy(table, "ABCDEFGH", epsilon=1.0)
    assert chosen == ["H", "G", "F"] and drawn != chosen and len(set(drawn)) == 3
    assert greedy(table, "ABCDEFGH", epsilon=1.0) == drawn
    assert greedy(table, "ABCDEFGH", epsilon=0.0) == chosen


def test_rounding_alone_leaves_the_floor() -> None:
    exact = torch.rand(3, 64, 64, dtype=torch.float64) * 1.2 - 0.1
    rounded = (exact.clamp(0, 1) * 255).round() / 255
    left = (rounded - exact.clamp(0, 1)).abs()
    assert floor_of(rounded) == pytest.approx(float(left.mean()), abs=2 * margin_of(left.numel()))
    assert floor_of(rounded.float()) == floor_of(rounded)
    assert floor_of(exact.clamp(0, 1)) == 0.0 == floor_of(torch.zeros(3, 0, 5))
    assert floor_of(torch.ones(3, 4, 4)) == 0.0
    edited = torch.zeros(3, 64, 64, dtype=torch.bool)
    assert floor_of(rounded, edited) == 0.0
    edited[:, :16] = True
    assert floor_of(rounded, edited) == pytest.approx(floor_of(rounded[:, :16]) / 4)
    assert margin_of(3 * 64 * 64) == pytest.approx(1.02e-5, rel=1e-2)
