"""center_targets: the targets of a CenterNet batch, 7 boxes an image, 128 slots."""

from __future__ import annotations

import harness
import torch
from torch import Tensor

import ldie_ext

BATCH, PER_IMAGE, SLOTS, SIDE = 32, 7, 128, 128


def composed(boxes: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """No loop over boxes: slots from offsets, then gathers."""
    rows = offsets[:-1, None] + torch.arange(SLOTS, device=boxes.device)
    chosen = boxes[rows.clamp(max=len(boxes) - 1)]
    wh, center = chosen[..., 2:] - chosen[..., :2], (chosen[..., 2:] + chosen[..., :2]) / 2
    valid = (rows < offsets[1:, None]) & ((wh > 0) & (center >= 0) & (center < SIDE)).all(-1)
    cell = center.long()
    index = torch.where(valid, cell[..., 1] * SIDE + cell[..., 0], -1)
    return index, wh * valid[..., None], (center - cell) * valid[..., None], valid


def bench_center_targets(measure: harness.Measure) -> None:
    count = PER_IMAGE * BATCH
    corner = torch.rand(count, 2) * SIDE * 0.8
    boxes = torch.cat([corner, corner + 2 + torch.rand(count, 2) * 40], dim=1).to(measure.device)
    labels = torch.randint(0, 80, (count,), device=measure.device)
    offsets = torch.arange(0, count + 1, PER_IMAGE, device=measure.device)
    measure(
        f"{BATCH} images, {SLOTS} slots",
        ours=lambda: ldie_ext.center_targets(boxes, labels, offsets, (SIDE, SIDE), SLOTS),
        composed=lambda: composed(boxes, offsets),
        read_bytes=harness.bytes_of(boxes, labels, offsets),
    )
