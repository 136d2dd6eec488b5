"""Which cells give birth to hypotheses and which hypotheses live on: image by image, in Python's own numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def packed(chosen: list[int], capacity: int) -> list[int]:
    return chosen + [-1] * (capacity - len(chosen))


def guided(coverage: float, guides: list[float]) -> float:
    """Coverage, where an object is only with some probability."""
    if any(math.isnan(guide) for guide in guides):
        return math.nan
    greatest = max(guides)
    return 1 - (1 - coverage) * (1 / (1 + math.exp(-greatest)) if greatest > -700 else 0.0)


def guided_image(coverage: Tensor, guide: Tensor) -> list[float]:
    classes = guide.flatten(1).T.tolist()
    return [guided(value, guides) for value, guides in zip(coverage.flatten().tolist(), classes, strict=True)]


def pyramid_spawn(
    coverage: Tensor,
    alive: Tensor,
    *,
    capacity: int,
    max_alive: int,
    threshold: float = 0.2,
    min_spawn: int = 0,
    guide: Tensor | None = None,
    step: float = 1.0,
) -> tuple[list[list[int]], list[int], list[list[list[float]]]]:
    """Cells, counts and places."""
    wide = torch.float64 if coverage.dtype == torch.float64 else torch.float32
    threshold = torch.tensor(threshold, dtype=wide).item()
    cells, counts, places = [], [], []
    for index, (image, slots) in enumerate(zip(coverage.flatten(1).tolist(), alive.tolist(), strict=True)):
        if guide is not None:
            image = guided_image(coverage[index], guide[index])
        room = min(capacity, max(0, max_alive - sum(slots)))
        order = sorted((value, cell) for cell, value in enumerate(image) if not math.isnan(value))
        below = [cell for value, cell in order if value < threshold]
        open_cells = [cell for value, cell in order if value < 1]
        taken = max(below, open_cells[:min_spawn], key=len)[:room]
        cells.append(packed(taken, capacity))
        counts.append(len(taken))
        middles = [
            [(cell % coverage.shape[2] + 0.5) * step, (cell // coverage.shape[2] + 0.5) * step] for cell in taken
        ]
        places.append(middles + [[math.nan, math.nan]] * (capacity - len(taken)))
    return cells, counts, places


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
