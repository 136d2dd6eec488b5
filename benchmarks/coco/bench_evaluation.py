"""COCO mask evaluation of 200 images end to end: predicted masks encoded, written down, matched and summarised.

Ours is ldie's evaluation: masks encoded, drawn and compared by ldie_ext.coco.mask, matched by faster-coco-eval.
Composed is faster-coco-eval alone, the peer pycocotools alone. Masks come in the column-major order that the latter two
need.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import numpy.typing as npt
import pytest

from ldie_ext.coco import mask as coco_mask

pycoco = pytest.importorskip("pycocotools.mask")
COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
faster = pytest.importorskip("faster_coco_eval")
annotations = pytest.importorskip("ldie.tasks.detection.annotations")
evaluation = pytest.importorskip("ldie.tasks.detection.metrics")

IMAGES, SIZE, CLASSES, DETECTIONS = 200, (480, 640), 80, 16
Masks = npt.NDArray[np.uint8]
Detections = list[tuple[list[dict[str, Any]], Masks]]


def outline(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """A star-shaped polygon of 10 to 60 vertices, 10 to 140 pixels radius, inside the image."""
    count = generator.integers(10, 60)
    angle = np.sort(generator.uniform(0, 2 * np.pi, count))
    radius = generator.uniform(10, 140) * generator.uniform(0.6, 1, count)
    directions = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (generator.uniform(0, SIZE[::-1]) + radius[:, None] * directions).clip(0, SIZE[::-1])


def annotation(generator: np.random.Generator, number: int, image_id: int) -> dict[str, Any]:
    points = outline(generator)
    low, extent = points.min(0), np.ptp(points, axis=0)
    return {
        "id": number, "image_id": image_id, "category_id": int(generator.integers(1, CLASSES + 1)), "iscrowd": 0,
        "bbox": [*low.tolist(), *extent.tolist()], "area": float(0.6 * extent.prod()),
        "segmentation": [points.ravel().tolist()],
    }  # fmt: skip


def detected(generator: np.random.Generator, objects: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Masks]:
    """Records without masks, and the masks [H, W, DETECTIONS]: objects of an image with their corners moved."""
    found = [objects[i] for i in generator.integers(len(objects), size=DETECTIONS)]
    records = [{key: item[key] for key in ("image_id", "category_id")} for item in found]
    for record in records:
        record["score"] = float(generator.random())
    corners = [np.array(item["segmentation"][0]) for item in found]
    moved = [points + generator.normal(0, generator.choice([2, 6, 15]), len(points)) for points in corners]
    return records, pycoco.decode(pycoco.frPyObjects([points.tolist() for points in moved], *SIZE))


def data() -> tuple[dict[str, Any], Detections]:
    """The truth, 1 to 15 objects an image, and what was detected."""
    generator = np.random.default_rng(0)
    objects: list[dict[str, Any]] = []
    detections = []
    for image_id in range(1, IMAGES + 1):
        first = len(objects)
        objects += [annotation(generator, first + i + 1, image_id) for i in range(generator.integers(1, 16))]
        detections.append(detected(generator, objects[first:]))
    images = [{"id": i, "height": SIZE[0], "width": SIZE[1], "file_name": f"{i}.png"} for i in range(1, IMAGES + 1)]
    categories = [{"id": i, "name": str(i)} for i in range(1, CLASSES + 1)]
    return {"images": images, "categories": categories, "annotations": objects}, detections


def results(detections: Detections, encode: Callable[[Masks], Any]) -> list[dict[str, Any]]:
    return [
        {**record, "segmentation": rle}
        for records, masks in detections
        for record, rle in zip(records, encode(masks), strict=True)
    ]


def our_stats(truth: Any, detections: Detections) -> list[float]:
    return evaluation.coco_stats(truth, results(detections, coco_mask.encode), "segm", truth.images)


def faster_stats(truth: dict[str, Any], detections: Detections) -> list[float]:
    coco = faster.COCO({**truth, "annotations": [dict(item) for item in truth["annotations"]]})
    evaluator = faster.COCOeval_faster(coco, coco.loadRes(results(detections, faster.core.mask.encode)), "segm")
    evaluator.run()
    return [float(value) for value in evaluator.all_stats[:12]]


def pycocotools_stats(truth: dict[str, Any], detections: Detections) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {**truth, "annotations": [dict(item) for item in truth["annotations"]]}
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results(detections, pycoco.encode)), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


def bench_evaluation(measure: harness.Measure) -> None:
    truth, detections = data()
    coco_mask.set_num_threads(measure.threads)
    parsed = annotations.parse_annotations(truth, Path("truth.json"))  # when the data set is opened
    assert np.allclose(our_stats(parsed, detections), pycocotools_stats(truth, detections), rtol=0, atol=1e-9)
    measure(
        f"{IMAGES} images, {IMAGES * DETECTIONS} masks of {SIZE[0]}x{SIZE[1]}",
        ours=lambda: our_stats(parsed, detections),
        composed=lambda: faster_stats(truth, detections),
        peer=lambda: pycocotools_stats(truth, detections),
        moved_bytes=sum(masks.nbytes for _, masks in detections),
    )
