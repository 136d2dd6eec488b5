"""rle_area: 200 instances of 800x1333 (pycocotools takes at most 255 at once), against pycocotools on its strings."""

from __future__ import annotations

import harness
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


def bench_rle_area(measure: harness.Measure) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines(100))
    strings = 2 * ldie_ext.rle_encode(ldie_ext.polygons_to_masks(polygons, SIZE)).to_coco()
    rle = ldie_ext.RLE.from_coco(strings).to(measure.device)
    measure(
        f"200 of {SIZE[0]}x{SIZE[1]}",
        ours=lambda: ldie_ext.rle_area(rle),
        host_peer=pycoco and (lambda: pycoco.area(strings)),
        read_bytes=harness.bytes_of(rle),
    )
