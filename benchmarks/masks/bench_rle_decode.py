"""rle_decode: 100 masks of 800x1333, against pycocotools."""

from __future__ import annotations

import harness
import pytest
import torch
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


@pytest.mark.parametrize("kind", ["bool", "bool, out=", "packed"])
def bench_rle_decode(measure: harness.Measure, kind: str) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines()).to(measure.device)
    rle = ldie_ext.rle_encode(ldie_ext.polygons_to_masks(polygons, SIZE))
    strings, packed = rle.to_coco(), kind == "packed"
    out = torch.empty(len(rle), *SIZE, dtype=torch.bool, device=measure.device) if "out" in kind else None
    measure(
        f"100 of {SIZE[0]}x{SIZE[1]}, {kind}",
        ours=lambda: ldie_ext.rle_decode(rle, packed=packed, size=SIZE, out=out),
        host_peer=pycoco and (lambda: pycoco.decode(strings)),
        read_bytes=harness.bytes_of(rle),
        given_output=out is not None,
    )
