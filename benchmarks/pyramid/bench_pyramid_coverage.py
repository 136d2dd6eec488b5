"""pyramid_coverage: the levels of a mask pyramid, of 80 hypotheses on photographs and of 40 on small images."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

LEVELS = [(1, 80, 7, 11), (1, 80, 13, 21), (1, 80, 25, 42), (1, 80, 50, 84), (8, 80, 50, 84), (1, 80, 100, 168)]
SMALL_LEVELS = [(1, 12, 4, 4), (8, 12, 4, 4), (8, 40, 8, 8), (8, 40, 16, 16), (8, 40, 32, 32)]
PHOTOGRAPH = LEVELS[3]


def hypotheses(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Smooth maps with noise, each high around a place of its own, and which are alive: nine of ten."""
    batch, slots, height, width = shape
    centers = torch.rand(2, batch, slots, 1, 1)
    ys, xs = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    distances = (ys - centers[0]).square() + (xs - centers[1]).square()
    alive = torch.rand(batch, slots) < 0.9
    alive[:, :3] = True
    return (6 - 60 * distances + torch.randn(shape)).to(device), alive.to(device)


def masked(logits: Tensor, alive: Tensor) -> Tensor:
    return logits.masked_fill(~alive[:, :, None, None], -torch.inf)


def best_by_topk(logits: Tensor, alive: Tensor) -> Tensor:
    best = logits.topk(3, dim=1, sorted=False).indices.flatten(1)
    return torch.zeros_like(alive).scatter_(1, best, True)


def best_by_rounds(logits: Tensor, alive: Tensor) -> Tensor:
    """Three times the greatest, which is then taken away."""
    left, present = logits.clone(), torch.zeros_like(alive)
    for _ in range(3):
        best = left.max(1, keepdim=True).indices
        present.scatter_(1, best.flatten(1), True)
        left.scatter_(1, best, -torch.inf)
    return present


def composed(logits: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """All images at once, by the faster of two ways to the best three: rounds on a large map of one image."""
    batch, _, height, width = logits.shape
    best = best_by_rounds if batch == 1 and height * width > 2000 else best_by_topk
    living = masked(logits, alive)
    return living.softmax(1).amax(1), best(living, alive)


def composed_greatest(logits: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    living = masked(logits, alive)
    return living.amax(1).sigmoid(), best_by_rounds(living, alive)


@pytest.mark.parametrize("shape", LEVELS + SMALL_LEVELS, ids=str)
def bench_pyramid_coverage(measure: harness.Measure, shape: tuple[int, ...]) -> None:
    logits, alive = hypotheses(shape, measure.device)
    measure(
        "x".join(map(str, shape)),
        ours=lambda: ldie_ext.pyramid_coverage(logits, alive),
        composed=lambda: composed(logits, alive),
        read_bytes=harness.bytes_of(logits, alive),
    )


def bench_pyramid_coverage_half(measure: harness.Measure) -> None:
    logits, alive = hypotheses(PHOTOGRAPH, measure.device)
    halves = logits.half()
    measure(
        f"{'x'.join(map(str, PHOTOGRAPH))}, float16",
        ours=lambda: ldie_ext.pyramid_coverage(halves, alive),
        composed=lambda: composed(halves, alive),
        read_bytes=harness.bytes_of(halves, alive),
    )


def bench_pyramid_coverage_greatest(measure: harness.Measure) -> None:
    logits, alive = hypotheses(PHOTOGRAPH, measure.device)
    measure(
        f"{'x'.join(map(str, PHOTOGRAPH))}, mode max",
        ours=lambda: ldie_ext.pyramid_coverage(logits, alive, mode="max"),
        composed=lambda: composed_greatest(logits, alive),
        read_bytes=harness.bytes_of(logits, alive),
    )
