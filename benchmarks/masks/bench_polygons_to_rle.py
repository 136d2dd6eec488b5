"""polygons_to_rle: 100 instances at 800x1333 to COCO's strings, against pycocotools."""

from __future__ import annotations

import harness
from masks.outlines import SIZE, outlines
from pycocotools import mask as pycoco

import ldie_ext


def bench_polygons_to_rle(measure: harness.Measure) -> None:
    instances = outlines()
    polygons = ldie_ext.Polygons.from_coco(instances).to(measure.device)
    measure(
        f"100 at {SIZE[0]}x{SIZE[1]}, to strings",
        ours=lambda: ldie_ext.polygons_to_rle(polygons, SIZE).to_coco(),
        peer=lambda: [pycoco.merge(pycoco.frPyObjects(parts, *SIZE)) for parts in instances],
    )
    measure(
        f"100 at {SIZE[0]}x{SIZE[1]}, lists of numbers to strings",
        ours=lambda: ldie_ext.polygons_to_rle(ldie_ext.Polygons.from_coco(instances), SIZE).to_coco(),
        peer=lambda: [pycoco.merge(pycoco.frPyObjects(parts, *SIZE)) for parts in instances],
    )
