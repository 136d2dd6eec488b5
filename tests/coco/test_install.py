"""pycocotools' own COCO and COCOeval on these masks: the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from coco.polygons import random_segmentation

from ldie_ext.coco import mask

pycoco = pytest.importorskip("pycocotools.mask")
COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval

SIZE = (60, 80)


@contextmanager
def installed() -> Iterator[None]:
    mask.install()
    mask.install()  # a second time changes nothing
    try:
        yield
    finally:
        mask.uninstall()


def annotated(images: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    for image in range(images):
        for crowd in (0, 0, 0, 1):
            rle = pycoco.merge(pycoco.frPyObjects(random_segmentation(generator, *SIZE), *SIZE))
            rle["counts"] = rle["counts"].decode()
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": crowd,
                                "segmentation": rle, "area": float(pycoco.area(rle))})  # fmt: skip
    return {"images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(images)],
            "categories": [{"id": 1, "name": "shape"}], "annotations": annotations}  # fmt: skip


def evaluate() -> np.ndarray:
    truth = COCO()
    truth.dataset = annotated(8)
    truth.createIndex()
    found = [{"image_id": one["image_id"], "category_id": 1, "score": 1 / (1 + one["id"]),
              "segmentation": pycoco.encode(np.roll(truth.annToMask(one), one["id"] % 7, axis=0))}
             for one in truth.dataset["annotations"]]  # fmt: skip
    evaluation = COCOeval(truth, truth.loadRes(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def test_evaluation_is_the_same() -> None:
    expected, original = evaluate(), pycoco.iou
    with installed():
        assert pycoco.iou is mask.iou
        np.testing.assert_array_equal(evaluate(), expected)
    assert pycoco.iou is original
    assert 0 < expected[0] < 1
