"""Polygons, boxes and instances against pycocotools: byte for byte the same run-length strings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from coco.polygons import random_segmentation

from ldie_ext.coco import mask

pycoco = pytest.importorskip("pycocotools.mask")


def test_random_polygons() -> None:
    generator = np.random.default_rng(0)
    for _ in range(1500):  # 3,000 polygons on average
        size = tuple(int(side) for side in generator.integers(1, 120, 2))
        segmentation = random_segmentation(generator, *size)
        expected = pycoco.frPyObjects(segmentation, *size)
        assert mask.frPyObjects(segmentation, *size) == expected
        assert mask.rasterize([segmentation], *size) == [pycoco.merge(expected)]
        np.testing.assert_array_equal(mask.decode(expected), pycoco.decode(expected))


def test_boxes() -> None:
    boxes = np.random.default_rng(1).random((50, 4)) * 40
    expected = pycoco.frPyObjects(boxes, 37, 31)
    assert mask.frPyObjects(boxes, 37, 31) == expected
    assert mask.frPyObjects(boxes.tolist(), 37, 31) == expected
    assert mask.frPyObjects(boxes[3].tolist(), 37, 31) == expected[3]


def test_rle_objects() -> None:
    plain = {"size": [3, 4], "counts": [2, 5, 5]}
    expected = pycoco.frPyObjects(plain, 3, 4)
    assert mask.frPyObjects(plain, 3, 4) == expected
    assert mask.frPyObjects([plain, expected], 3, 4) == [expected, expected]
    assert mask.rasterize([plain, [[0, 0, 2, 0, 2, 2]]], 3, 4)[0] == expected
    assert mask.frPyObjects([], 3, 4) == []
    assert mask.rasterize([[]], 3, 4) == mask.frPyObjects([{"size": [3, 4], "counts": [12]}], 3, 4)


def test_every_annotation(photographs: Path) -> None:
    drawn = 0
    for file in sorted((photographs / "annotations").glob("instances_*.json")):
        content = json.loads(file.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for annotation in content["annotations"]:
            size, segmentation = sizes[annotation["image_id"]], annotation["segmentation"]
            expected = pycoco.frPyObjects(segmentation, *size)
            rle = expected if isinstance(segmentation, dict) else pycoco.merge(expected)
            assert mask.frPyObjects(segmentation, *size) == expected
            assert mask.rasterize([segmentation], *size) == [rle]
            assert mask.encode(mask.decode(rle)) == rle
            assert mask.area(rle) == pycoco.area(rle)
            np.testing.assert_array_equal(mask.toBbox(rle), pycoco.toBbox(rle))
            drawn += 1
    assert drawn > 1000


def test_far_and_long_polygons() -> None:
    """Coordinates out of any integer's range, and more crossings than pixels: defined, and no more memory than both."""
    far = [[-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300]]
    assert mask.area(mask.frPyObjects(far, 6, 5)) == 30
    zigzag = [value for i in range(4001) for value in (500.0 * (i % 2), 7.0)]
    assert mask.area(mask.frPyObjects([zigzag], 20, 500)) == 0
    wide = [coordinate * 1e30 for coordinate in zigzag]
    assert mask.frPyObjects([wide], 0, 10**18) == [{"size": [0, 10**18], "counts": b"0"}]  # nothing to cross


class Unprintable:
    def __repr__(self) -> str:
        raise RecursionError


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[0, 0, 1, 1, 2]], "polygon 0: needs an even number of coordinates, got 5"),
        ([[0, 0, 1, 0, 1, 1], [0, 0, float("nan"), 0, 1, 1]], "polygon 1: coordinates must be finite"),
        ([[0, 0, 1, 0, 1, "x"]], "polygon 0: coordinates must be numbers"),
        ([[0, 0, 1, 0, 1, "\u00e9" * 99]], r"polygon 0: coordinates must be numbers, got '(\\xe9)+\.\.\."),
        ([[0, 0, 1, 0, 1, [2]]], r"polygon 0: coordinates must be numbers, got \[2\]"),
        ([[0, 0, 1, 0, 1, Unprintable()]], "polygon 0: coordinates must be numbers, got an unprintable Unprintable"),
        ([[0, 0, 4, 4], [0, 0, 1]], "polygon 1: needs an even"),
        ([[0, 0, 4, 4], [0, 0, 1, 1, 1, 1]], "box 1: needs 4 numbers"),
        ([{"size": [2, 2], "counts": [5]}], "RLE 0: RLE counts add up to 5"),
        ([{"size": [2, 2], "counts": [-4]}], "RLE 0: counts must be run lengths from 0"),
        ([{"size": [2, 2], "counts": [2**32 + 4]}], "RLE 0: counts must be run lengths from 0"),
        ([{"size": [2], "counts": [4]}], "RLE 0: size must be"),
        ([{"size": [2, "x"], "counts": [4]}], "RLE 0: size must be two integers"),
        ([{"size": [2, 2], "counts": 4}], "RLE 0: must be a string or a list"),
    ],
)
def test_malformed_objects(segmentation: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask.frPyObjects(segmentation, 5, 5)


def test_malformed_instances() -> None:
    good = [[0, 0, 1, 0, 1, 1]]
    with pytest.raises(ValueError, match="segmentation 1: polygon 0: needs an even"):
        mask.rasterize([good, [[0, 0, 1]]], 5, 5)
    with pytest.raises(ValueError, match="segmentation 2: RLE counts add up to 3"):
        mask.rasterize([good, good, {"size": [2, 2], "counts": [3]}], 5, 5)
    with pytest.raises(ValueError, match="segmentation 0: must be a list of polygons"):
        mask.rasterize([5], 5, 5)
    with pytest.raises(ValueError, match="size must be"):
        mask.rasterize([good], -1, 5)
