"""A short run of random hostile calls; `make hostile` makes a long one under sanitizers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hostile
import hostile_coco
import hostile_ops


def test_operators_raise_what_is_documented() -> None:
    report = hostile.run(hostile_ops.Hostile(), seed=1, count=250)
    assert not report.failures, "\n".join(report.failures)
    assert {"RuntimeError", "TypeError", "ValueError", "succeeded"} == set(report.outcomes)


def test_coco_masks_raise_what_is_documented() -> None:
    report = hostile.run(hostile_coco.Hostile(), seed=1, count=1500)
    assert not report.failures, "\n".join(report.failures)
    assert {"ValueError", "succeeded"} == set(report.outcomes)


def test_a_run_finds_what_is_not_documented() -> None:
    class Faulty:
        allowed = (ValueError,)

        def make(self, rng: random.Random) -> tuple[str, Callable[[], Any]]:
            values: list[int] = []
            return "values[3]", lambda: values[3] if rng.random() < 0.5 else int("x")

    report = hostile.run(Faulty(), seed=2, count=40)
    assert report.outcomes["went wrong"] == len(report.failures) > 0
    assert report.outcomes["ValueError"] + len(report.failures) == report.calls == 40
    again = hostile.run(Faulty(), seed=2, count=1, first=int(report.failures[0].split()[3].rstrip(":")))
    assert again.failures == report.failures[:1]
