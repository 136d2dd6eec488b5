"""polygons_to_masks: 100 instances at 800x1333, against pycocotools."""

from __future__ import annotations

import harness
import numpy as np
import pytest
import torch
from harness import pycoco
from masks.outlines import SIZE, outlines

import ldie_ext


def by_pycocotools(instances: list[list[list[float]]]) -> np.ndarray:
    return pycoco.decode([pycoco.merge(pycoco.frPyObjects(parts, *SIZE)) for parts in instances])


@pytest.mark.parametrize("kind", ["bool", "bool, out=", "packed"])
def bench_polygons_to_masks(measure: harness.Measure, kind: str) -> None:
    instances = outlines()
    polygons = ldie_ext.Polygons.from_coco(instances).to(measure.device)
    packed = kind == "packed"
    out = torch.empty(len(instances), *SIZE, dtype=torch.bool, device=measure.device) if "out" in kind else None
    measure(
        f"100 at {SIZE[0]}x{SIZE[1]}, {kind}",
        ours=lambda: ldie_ext.polygons_to_masks(polygons, SIZE, packed=packed, out=out),
        host_peer=pycoco and (lambda: by_pycocotools(instances)),
        read_bytes=harness.bytes_of(polygons),
        given_output=out is not None,
    )
