"""rle_to_boxes: 1,000 instances of 800x1333, against pycocotools on its strings."""

from __future__ import annotations

import harness
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


def bench_rle_to_boxes(measure: harness.Measure) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines(100))
    strings = 10 * ldie_ext.rle_encode(ldie_ext.polygons_to_masks(polygons, SIZE)).to_coco()
    rle = ldie_ext.RLE.from_coco(strings).to(measure.device)
    measure(
        f"1k of {SIZE[0]}x{SIZE[1]}",
        ours=lambda: ldie_ext.rle_to_boxes(rle),
        host_peer=pycoco and (lambda: pycoco.toBbox(strings)),
        read_bytes=harness.bytes_of(rle),
    )
