"""mask_centers: 100 masks of 800x1333."""

from __future__ import annotations

import harness
import pytest
import torch
from masks.outlines import SIZE, outlines

import ldie_ext


def composed(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means from the sums of rows and columns, which are exact in float32."""
    columns, rows = masks.sum(1), masks.sum(2)
    areas = rows.sum(1)
    xs = (columns * torch.arange(masks.shape[2], device=masks.device)).sum(1) / areas
    ys = (rows * torch.arange(masks.shape[1], device=masks.device)).sum(1) / areas
    return torch.stack([xs, ys], 1), areas


@pytest.mark.parametrize("packed", [False, True])
def bench_mask_centers(measure: harness.Measure, packed: bool) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines()).to(measure.device)
    dense = ldie_ext.polygons_to_masks(polygons, SIZE)
    masks = ldie_ext.polygons_to_masks(polygons, SIZE, packed=True) if packed else dense
    measure(
        f"100 of {SIZE[0]}x{SIZE[1]}, {'packed' if packed else 'bool'}",
        ours=lambda: ldie_ext.mask_centers(masks, packed_width=SIZE[1] if packed else None),
        composed=lambda: composed(dense),
        read_bytes=harness.bytes_of(masks),
    )
