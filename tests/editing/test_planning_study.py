"""A small slice of the planning study: its pairs, its scores, and that the planner finds most edits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ldie_ext import EditOp

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_pairs_are_those_of_the_protocol() -> None:
    from editing.planning_pairs import ALL, HELD_OUT_SEED, TUNING_SEED, Row, pairs, photographs

    row = Row("any", ALL, 3)
    made, again, other = (list(pairs(row, 4, seed)) for seed in (HELD_OUT_SEED, HELD_OUT_SEED, TUNING_SEED))
    for pair, same, another in zip(made, again, other, strict=True):
        assert torch.equal(pair.image, same.image) and torch.equal(pair.target, same.target)
        assert pair.image.shape != another.image.shape or not torch.equal(pair.image, another.image)
        assert len(set(pair.names)) == 3 and {EditOp[name] for name in pair.names} <= set(ALL)
        assert (pair.target * 255 - (pair.target * 255).round()).abs().max() < 1e-4
    assert [pair.photograph for pair in made] == [False, bool(photographs(HELD_OUT_SEED))] * 2
    assert not {*photographs(HELD_OUT_SEED)} & {*photographs(TUNING_SEED)}


def test_scores_tell_right_from_near() -> None:
    from editing.planning_pairs import SCALARS, TUNING_SEED, Row, pairs
    from editing.planning_study import joint, score, summary, table

    from ldie_ext.ops.editing._plan_pair import Pair
    from ldie_ext.ops.editing._plans import Plan, Step

    row = Row("three", SCALARS, 2, 0.9, 0.9)
    made = next(pairs(row, 1, TUNING_SEED))
    right = score(made, row, joint)
    assert right.right_set and right.right_sequence and right.distance < 0.01

    def backwards(pair: Pair, row: Row) -> Plan:
        order = tuple(Step(name) for name in reversed(made.names))
        return pair.fit_orders([order])[0]

    def one(pair: Pair, row: Row) -> Plan:
        return pair.fit_orders([(Step(made.names[0]),)])[0]

    reversed_score, short = score(made, row, backwards), score(made, row, one)
    assert reversed_score.right_set and not short.right_set and not short.right_sequence
    assert reversed_score.right_sequence == (reversed_score.distance - right.true_distance < 1.03e-5)
    total = summary(row, "joint", [right, short])
    assert total["right_set"] == 0.5 and total["pairs"] == 2
    assert "0.50 (≥ 0.90)" in table([total])


def test_most_edits_are_found() -> None:
    """Of the study's rows the quick ones, on pairs that nothing was tuned on."""
    from editing.planning_pairs import HELD_OUT_SEED, POINTWISE, SCALARS, Row
    from editing.planning_study import measure, summary

    for row, count, least in ((Row("scalars", SCALARS, 2), 8, 7), (Row("pointwise", POINTWISE, 2), 4, 2)):
        scores = measure(row, "joint", count, HELD_OUT_SEED)
        assert sum(each.right_set for each in scores) >= least, [(each.truth, each.plan) for each in scores]
        assert summary(row, "joint", scores)["distance"] < 0.002
