"""mask_iou: all pairs of 200 and 200 instances of 800x1333, against pycocotools on its strings."""

from __future__ import annotations

import harness
import pytest
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


@pytest.mark.parametrize("kind", ["rle", "packed", "bool"])
def bench_mask_iou(measure: harness.Measure, kind: str) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines(400)).to(measure.device)
    width = SIZE[1] if kind == "packed" else None
    masks = ldie_ext.polygons_to_masks(polygons, SIZE, packed=kind == "packed")
    strings = ldie_ext.rle_encode(masks, packed_width=width).to_coco()
    if kind == "rle":
        a, b = (ldie_ext.RLE.from_coco(part).to(measure.device) for part in (strings[:200], strings[200:]))
    else:
        a, b = masks[:200], masks[200:]
    measure(
        f"200x200 of {SIZE[0]}x{SIZE[1]}, {kind}",
        ours=lambda: ldie_ext.mask_iou(a, b, packed_width=width),
        host_peer=pycoco and (lambda: pycoco.iou(strings[:200], strings[200:], [False] * 200)),
        read_bytes=harness.bytes_of(a, b),
    )
