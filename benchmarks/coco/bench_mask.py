"""ldie_ext.coco.mask: 100 instances at 800x1333, against pycocotools and faster-coco-eval."""

from __future__ import annotations

from types import ModuleType

import harness
import pytest
from masks.outlines import SIZE, outlines

from ldie_ext.coco import mask


@pytest.fixture(params=["pycocotools.mask", "faster_coco_eval.core.mask"])
def peer(request: pytest.FixtureRequest) -> ModuleType:
    return pytest.importorskip(request.param)


@pytest.mark.parametrize("call", ["encode", "decode", "merge", "area", "toBbox"])
def bench_calls(measure: harness.Measure, call: str, peer: ModuleType) -> None:
    mask.set_num_threads(measure.threads)
    rles = mask.rasterize(outlines(), *SIZE)
    argument = mask.decode(rles) if call == "encode" else rles
    measure(
        f"{call}, 100 masks at {SIZE[0]}x{SIZE[1]}, {peer.__name__}",
        ours=lambda: getattr(mask, call)(argument),
        peer=lambda: getattr(peer, call)(argument),
        read_bytes=harness.bytes_of(argument),
    )


def bench_iou(measure: harness.Measure, peer: ModuleType) -> None:
    mask.set_num_threads(measure.threads)
    rles = mask.rasterize(outlines(400), *SIZE)
    dt, gt, crowd = rles[:200], rles[200:], [0] * 200
    measure(
        f"iou, 200 x 200 masks, {peer.__name__}",
        ours=lambda: mask.iou(dt, gt, crowd),
        peer=lambda: peer.iou(dt, gt, crowd),
        read_bytes=harness.bytes_of(dt, gt),
    )


def bench_polygons(measure: harness.Measure, peer: ModuleType) -> None:
    mask.set_num_threads(measure.threads)
    instances = outlines()
    measure(
        f"polygons of 100 instances to RLE, {peer.__name__}",
        ours=lambda: mask.rasterize(instances, *SIZE),
        peer=lambda: [peer.merge(peer.frPyObjects(parts, *SIZE)) for parts in instances],
        read_bytes=harness.bytes_of(instances),
    )
