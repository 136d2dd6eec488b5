"""What ldie_ext.coco.mask takes, and that everything else is a ValueError in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ldie_ext.coco import mask

RLE = {"size": [2, 2], "counts": b"13"}
BOX = [0.0, 0.0, 2.0, 2.0]

CALLS: dict[str, Callable[[Any], Any]] = {
    "encode": mask.encode,
    "decode": mask.decode,
    "merge": mask.merge,
    "area": mask.area,
    "toBbox": mask.toBbox,
    "iou, dt": lambda value: mask.iou(value, [RLE], [0]),
    "iou, gt": lambda value: mask.iou([RLE], value, [0]),
    "iou, boxes": lambda value: mask.iou(value, [BOX], [0]),
    "iou, pyiscrowd": lambda value: mask.iou([RLE], [RLE], value),
    "frPyObjects": lambda value: mask.frPyObjects(value, 4, 4),
    "frPyObjects, h": lambda value: mask.frPyObjects([BOX], value, 4),
    "frPyObjects, w": lambda value: mask.frPyObjects([BOX], 4, value),
    "rasterize": lambda value: mask.rasterize(value, 4, 4),
    "rasterize, h": lambda value: mask.rasterize([[[0, 0, 1, 1, 2, 0]]], value, 4),
    "runs": mask.runs,
    "from_runs, counts": lambda value: mask.from_runs(value, np.array([0, 1]), np.array([[2, 2]])),
    "from_runs, offsets": lambda value: mask.from_runs(np.array([4]), value, np.array([[2, 2]])),
    "from_runs, sizes": lambda value: mask.from_runs(np.array([4]), np.array([0, 1]), value),
    "set_num_threads": mask.set_num_threads,
}
WRONG = [
    None, 3, -1, 2**70, 1.5, float("nan"), "x", b"13", object(), {}, {"size": [2, 2]}, {"size": "ab", "counts": b"13"},
    {"size": [2.5, 2], "counts": b"13"}, {"size": [float("nan"), 2], "counts": b"13"}, {"size": [2, 2], "counts": 4},
    {"size": [2, 2], "counts": [1.5, 2.5]}, {"size": [2, 2], "counts": ["1", "3"]}, [None], [[None] * 4], ["x"], [[]],
    [[1, 2, 3]], [[1, 2, 3, 4], "x"], [RLE, BOX], [object()], np.array(3), np.zeros((3, 5)), np.array([object()]),
    [[1e400, 0, 1, 1, 2, 2]],
]  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_value_errors(name: str) -> None:
    for value in WRONG:
        try:
            CALLS[name](value)
        except ValueError as error:
            assert type(error) is ValueError
            assert "incompatible" not in str(error), value
            assert "\n" not in str(error)
    mask.set_num_threads(2)


def test_integral_floats_are_integers() -> None:
    """json files hold 480.0, and runs that were computed."""
    expected = mask.area(RLE)
    for size in ([2.0, 2.0], np.array([2.0, 2.0]), [np.float32(2), np.int16(2)]):
        assert mask.area({"size": size, "counts": b"13"}) == expected
        assert mask.area({"size": size, "counts": [1.0, 3.0]}) == expected
        assert mask.area({"size": size, "counts": np.array([1, 3], np.float32)}) == expected
    assert mask.frPyObjects([BOX], 4.0, np.float32(4)) == mask.frPyObjects([BOX], 4, 4)
    assert mask.rasterize([[BOX]], 4.0, 4.0) == mask.rasterize([[BOX]], 4, 4)
    with pytest.raises(ValueError, match=r"RLE 0: size must be two integers, got 2\.5"):
        mask.area({"size": [2.5, 2], "counts": b"13"})
    with pytest.raises(ValueError, match=r"h must be an integer, got 2\.5"):
        mask.frPyObjects([BOX], 2.5, 4)


def test_counts_in_every_kind_of_string() -> None:
    changing = bytearray(b"13")
    kept = mask.decode([{"size": [2, 2], "counts": changing}])
    changing[:] = b"xx"  # what was read is a copy
    assert (kept[..., 0] == mask.decode(RLE)).all()
    assert mask.area({"size": [2, 2], "counts": "13"}) == mask.area({"size": [2, 2], "counts": bytearray(b"13")}) == 3


def test_iou_of_one_object() -> None:
    assert mask.iou(RLE, RLE, 0).tolist() == mask.iou([RLE], [RLE], [0]).tolist() == [[1.0]]
    assert mask.iou(BOX, np.array(BOX), 0).tolist() == [[1.0]]
    assert mask.iou([BOX, BOX], [[0, 0, 4, 4]] * 2, 1).tolist() == [[1.0, 1.0], [1.0, 1.0]]  # all are crowds
    assert mask.iou([BOX], [[0, 0, 4, 4]], False).tolist() == [[0.25]]
    assert mask.iou((RLE,), (RLE,), (0,)).tolist() == [[1.0]]


@pytest.mark.parametrize("first", [[0, 0, 3, 3], [0, 0, 3, 0, 3, 3]])
def test_polygons_are_polygons_whatever_their_length_and_order(first: list[float]) -> None:
    """Four numbers are two points here, also where they come first: only frPyObjects takes them for a box."""
    square = [1, 1, 3, 1, 3, 3, 1, 3]
    (drawn,) = mask.rasterize([[first, square]], 4, 4)
    assert drawn == mask.rasterize([[square, first]], 4, 4)[0]
    assert mask.decode(drawn).sum() == mask.decode(mask.merge(mask.rasterize([[first], [square]], 4, 4))).sum()
    assert mask.area(mask.rasterize([[[0, 0, 3, 3]]], 4, 4))[0] < mask.area(mask.frPyObjects([[0, 0, 3, 3]], 4, 4))[0]


@pytest.mark.parametrize("far", [1e8, 2.0**28, 1e9, 2.0**31, 1e18, 1e308])
def test_far_vertices_draw_what_lies_inside(far: float) -> None:
    for polygon in (
        [-far, -far, far, -far, far, far, -far, far],
        [0, 0, far, 0, far, far, 0, far],
        [-far, 0, far, 0, far, 40, -far, 40],
    ):
        (drawn,) = mask.rasterize([[polygon]], 30, 40)
        assert mask.area(drawn) == 30 * 40
        assert mask.frPyObjects([polygon], 30, 40) == [drawn]
    mask.frPyObjects([[far, far, -far, 3, 5, far, 7, 7]], 30, 40)  # any pixels, but no crash
    assert mask.area(mask.frPyObjects([[-far / 2, -far / 2, far, far]], 30, 40))[0] == 30 * 40  # a box


def test_faults_of_pycocotools_stay_mended() -> None:
    """As docs/coco_mask.md lists them."""
    many = [RLE] * 300
    assert mask.area(many).dtype == np.uint32
    assert mask.area(many).tolist() == [3] * 300
    assert mask.toBbox({"size": [0, 0], "counts": b""}).tolist() == [0, 0, 0, 0]
    assert mask.toBbox([]).shape == (0, 4)
    assert mask.toBbox({"size": [0, 5], "counts": b"00"}).tolist() == [0, 0, 0, 0]
    nothing = {"size": [0, 0], "counts": b""}
    assert mask.area(mask.merge([nothing, nothing])) == 0
    with pytest.raises(ValueError, match="RLE 0: "):
        mask.merge([{"size": [2, 2], "counts": b""}, RLE])
    with pytest.raises(ValueError, match="size"):
        mask.merge([RLE, {"size": [3, 3], "counts": b"9"}])
