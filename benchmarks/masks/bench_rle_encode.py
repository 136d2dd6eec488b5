"""rle_encode: 100 masks of 800x1333, against pycocotools on masks in its own order."""

from __future__ import annotations

import harness
import numpy as np
import pytest
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


@pytest.mark.parametrize("packed", [False, True])
def bench_rle_encode(measure: harness.Measure, packed: bool) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines()).to(measure.device)
    masks = ldie_ext.polygons_to_masks(polygons, SIZE, packed=packed)
    dense = ldie_ext.polygons_to_masks(polygons, SIZE).cpu().numpy().astype(np.uint8)
    columns_first = np.asfortranarray(dense.transpose(1, 2, 0))
    measure(
        f"100 of {SIZE[0]}x{SIZE[1]}, {'packed' if packed else 'bool'}",
        ours=lambda: ldie_ext.rle_encode(masks, packed_width=SIZE[1] if packed else None),
        host_peer=pycoco and (lambda: pycoco.encode(columns_first)),
        read_bytes=harness.bytes_of(masks),
    )
