"""A growth step of a mask pyramid: coverage, births and deaths, on a level of photographs and a small one."""

from __future__ import annotations

import harness
import pytest
import torch
from pyramid import bench_pyramid_coverage, bench_pyramid_cull, bench_pyramid_spawn
from torch import Tensor

import ldie_ext


def ours(logits: Tensor, alive: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    slots = alive.shape[1]
    found = ldie_ext.pyramid_coverage(logits, alive)
    born = ldie_ext.pyramid_spawn(
        found.coverage,
        alive,
        capacity=bench_pyramid_spawn.CAPACITY,
        max_alive=slots,
        min_spawn=bench_pyramid_spawn.MIN_SPAWN,
    )
    return *born, *ldie_ext.pyramid_cull(found.present, scores, slots)


def composed(logits: Tensor, alive: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    """Without waiting for the device, too."""
    coverage, present = bench_pyramid_coverage.composed(logits, alive)
    born = bench_pyramid_spawn.composed(coverage, alive)
    return *born, *bench_pyramid_cull.composed(present, scores, alive.shape[1])


@pytest.mark.parametrize("shape", [(1, 80, 50, 84), (4, 80, 50, 84), (8, 24, 16, 16)], ids=str)
def bench_growth_step(measure: harness.Measure, shape: tuple[int, ...]) -> None:
    logits, alive = bench_pyramid_coverage.hypotheses(shape, measure.device)
    scores = torch.rand(alive.shape, device=measure.device)
    measure(
        "x".join(map(str, shape)),
        ours=lambda: ours(logits, alive, scores),
        composed=lambda: composed(logits, alive, scores),
        read_bytes=harness.bytes_of(logits, alive, scores),
    )
