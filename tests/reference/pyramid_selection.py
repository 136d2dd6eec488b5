"""Which cells give birth to hypotheses and which hypotheses live on: image by image, in Python's own numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def packed(chosen: list[int], capacity: int) -> list[int]:
    return chosen + [-1] * (capacity - len(chosen))


def pyramid_spawn(
    coverage: Tensor, alive: Tensor, *, capacity: int, max_alive: int, threshold: float = 0.2, min_spawn: int = 0
) -> tuple[list[list[int]], list[int]]:
    """Cells and counts."""
    wide = torch.float64 if coverage.dtype == torch.float64 else torch.float32
    threshold = torch.tensor(threshold, dtype=wide).item()
    cells, counts = [], []
    for image, slots in zip(coverage.flatten(1).tolist(), alive.tolist(), strict=True):
        room = min(capacity, max(0, max_alive - sum(slots)))
        order = sorted((value, cell) for cell, value in enumerate(image) if not math.isnan(value))
        below = [cell for value, cell in order if value < threshold]
        open_cells = [cell for value, cell in order if value < 1]
        taken = max(below, open_cells[:min_spawn], key=len)[:room]
        cells.append(packed(taken, capacity))
        counts.append(len(taken))
    return cells, counts


def pyramid_cull(present: Tensor, scores: Tensor, capacity: int) -> tuple[list[list[int]], list[int]]:
    """Slots and counts."""
    slots, counts = [], []
    for there, image in zip(present.tolist(), scores.tolist(), strict=True):
        order = sorted(
            (math.isnan(score), -score if not math.isnan(score) else 0.0, slot)
            for slot, score in enumerate(image)
            if there[slot]
        )
        kept = sorted(slot for _, _, slot in order[:capacity])
        slots.append(packed(kept, capacity))
        counts.append(len(kept))
    return slots, counts
