"""pyramid_cull: 80 slots, of which half may stay, or all that are present."""

from __future__ import annotations

import math

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SLOTS = 80


def composed(present: Tensor, scores: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Batched, of fixed size and without waiting for the device: top-k of those that are present, then their order."""
    best = scores.masked_fill(~present, -math.inf).topk(capacity).indices
    kept = present.gather(1, best)
    slots = torch.where(kept, best, SLOTS).sort(dim=1).values
    return torch.where(slots < SLOTS, slots, -1), kept.sum(1)


@pytest.mark.parametrize("capacity", [SLOTS // 2, SLOTS])
@pytest.mark.parametrize("batch", [1, 4, 8])
def bench_pyramid_cull(measure: harness.Measure, batch: int, capacity: int) -> None:
    present = torch.rand(batch, SLOTS, device=measure.device) < 0.8
    scores = torch.rand(batch, SLOTS, device=measure.device)
    measure(
        f"{batch}x{SLOTS}, at most {capacity}",
        ours=lambda: ldie_ext.pyramid_cull(present, scores, capacity),
        composed=lambda: composed(present, scores, capacity),
        read_bytes=harness.bytes_of(present, scores),
    )
