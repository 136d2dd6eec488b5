"""polygons_to_rle: 100 instances at 800x1333 to COCO's strings, against pycocotools."""

from __future__ import annotations

import harness
import pytest
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


@pytest.mark.parametrize("source", ["tensors", "lists"])
def bench_polygons_to_rle(measure: harness.Measure, source: str) -> None:
    instances = outlines()
    polygons = ldie_ext.Polygons.from_coco(instances).to(measure.device)

    def ours() -> list[dict]:
        given = polygons if source == "tensors" else ldie_ext.Polygons.from_coco(instances).to(measure.device)
        return ldie_ext.polygons_to_rle(given, SIZE).to_coco()

    measure(
        f"100 at {SIZE[0]}x{SIZE[1]}, {source} to strings",
        ours=ours,
        host_peer=pycoco and (lambda: [pycoco.merge(pycoco.frPyObjects(parts, *SIZE)) for parts in instances]),
        read_bytes=harness.bytes_of(polygons if source == "tensors" else instances),
    )
