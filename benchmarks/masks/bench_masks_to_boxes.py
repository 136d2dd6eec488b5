"""masks_to_boxes: 100 masks of 800x1333."""

from __future__ import annotations

import harness
import pytest
from masks.outlines import SIZE, outlines

import ldie_ext


@pytest.mark.parametrize("packed", [False, True])
def bench_masks_to_boxes(measure: harness.Measure, packed: bool) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines()).to(measure.device)
    dense = ldie_ext.polygons_to_masks(polygons, SIZE)
    masks = ldie_ext.polygons_to_masks(polygons, SIZE, packed=True) if packed else dense
    measure(
        f"100 of {SIZE[0]}x{SIZE[1]}, {'packed' if packed else 'bool'}",
        ours=lambda: ldie_ext.masks_to_boxes(masks, packed_width=SIZE[1] if packed else None),
        peer=harness.tv and (lambda: harness.tv.masks_to_boxes(dense)),
        read_bytes=harness.bytes_of(masks),
    )
