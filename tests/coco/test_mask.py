"""ldie_ext.coco.mask against pycocotools.mask: the same bytes, the same arrays, and errors instead of wild reads."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ldie_ext.coco import mask

pycoco = pytest.importorskip("pycocotools.mask")

BOX = [0, 0, 2, 2]
SHAPES = [(1, 1), (1, 9), (9, 1), (13, 17), (64, 48), (63, 65), (130, 127), (70, 64), (480, 640)]


def masks_of(shape: tuple[int, int]) -> list[np.ndarray]:
    """Empty, full, noisy, blocky masks."""
    generator = np.random.default_rng(0)
    noise = generator.random(shape)
    block = np.zeros(shape, np.uint8)
    block[shape[0] // 3 : shape[0] // 2 + 1, shape[1] // 4 :] = 1
    return [np.zeros(shape, np.uint8), np.ones(shape, np.uint8), (noise < 0.5).astype(np.uint8), block,
            (noise < 0.01).astype(np.uint8), (noise < 0.99).astype(np.uint8)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_same_bytes_both_ways(shape: tuple[int, int]) -> None:
    for single in masks_of(shape):
        expected = pycoco.encode(np.asfortranarray(single))
        assert mask.encode(single) == expected
        assert mask.encode(single.astype(bool)) == expected
        decoded = mask.decode(expected)
        assert decoded.flags.f_contiguous
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, pycoco.decode(expected))


def test_stacks_match_single_calls() -> None:
    stack = np.stack(masks_of((13, 17)), axis=-1)
    rles = mask.encode(stack)
    assert rles == pycoco.encode(np.asfortranarray(stack))
    np.testing.assert_array_equal(mask.decode(rles), stack)
    assert mask.encode(stack[:, :, :0]) == []
    assert mask.decode([]).shape == (0, 0, 0)


def test_numbers_of_every_length() -> None:
    """Runs whose string takes one to seven characters, first and as a difference to the run two before."""
    for run in [2**k + d for k in range(31) for d in (-1, 0, 1)]:
        for counts in ([run, 1, 1], [0, 1, 0, run], [0, run, 1, 1], [1, 1, run, 1, 1], [0, 1, run, 1]):
            if sum(counts) >= 2**31:
                continue
            (rle,) = mask.from_runs(
                np.array(counts, np.int32), np.array([0, len(counts)]), np.array([[sum(counts), 1]])
            )
            assert rle == pycoco.frPyObjects({"size": [sum(counts), 1], "counts": counts}, sum(counts), 1)
            assert mask.runs([rle])[0].tolist() == counts
            for form in (rle, {"size": rle["size"], "counts": counts}):
                assert mask.area(form) == sum(counts[1::2])
                if run < 2**29:  # pycocotools misreads the longest numbers
                    np.testing.assert_array_equal(mask.toBbox(form), pycoco.toBbox(rle))


def test_boxes_of_columns_that_touch() -> None:
    """Runs of zeros of length 0, spans that end at the foot of a column, columns skipped."""
    generator = np.random.default_rng(3)
    for _ in range(300):
        height, width = generator.integers(1, 7, 2)
        counts = generator.integers(0, 2 * height, 12).tolist()
        while sum(counts) > height * width:
            counts.pop()
        counts.append(int(height * width - sum(counts)))
        rle = {"size": [int(height), int(width)], "counts": counts}
        dense = mask.decode(rle)
        columns, rows = np.flatnonzero(dense.any(0)), np.flatnonzero(dense.any(1))
        expected = [0, 0, 0, 0]
        if len(columns):
            expected = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert mask.toBbox(rle).tolist() == expected
        assert mask.area(rle) == dense.sum()


def test_text_counts() -> None:
    rle = mask.encode(masks_of((13, 17))[2])
    text = {"size": rle["size"], "counts": rle["counts"].decode()}
    np.testing.assert_array_equal(mask.decode(text), mask.decode(rle))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"\x01", "malformed RLE counts at character 0"),
        (b"1\xff", "malformed"),
        (b"o", "malformed RLE counts at character 1"),  # the last group promises another
        (b"oooooooo0", "malformed"),
        (b"1", "add up to 1, the mask has 4"),
        (b"5", "do not fit the mask"),
        (b"O", "do not fit the mask: run 0 is -1"),
        (b"", "add up to 0"),
    ],
)
def test_malformed_counts(counts: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask.decode({"size": [2, 2], "counts": counts})


def test_random_bytes_never_crash() -> None:
    generator = np.random.default_rng(1)
    for _ in range(2000):
        counts = generator.integers(40, 120, generator.integers(0, 12), dtype=np.uint8).tobytes()
        try:
            decoded = mask.decode({"size": [7, 5], "counts": counts})
        except ValueError:
            continue
        assert decoded.shape == (7, 5)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"masks must be uint8 or bool .* got float64 \[2, 2\]"):
        mask.encode(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="masks must be"):
        mask.encode(np.zeros(4, np.uint8))
    rle = mask.encode(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="sizes must agree"):
        mask.decode([rle, {"size": [2, 3], "counts": b"6"}])
    with pytest.raises(ValueError, match="both at least 0"):
        mask.decode({"size": [-1, 2], "counts": b""})
    with pytest.raises(ValueError, match=r"less than 2\^31 pixels"):
        mask.area({"size": [2**40, 2**40], "counts": b"0"})
    with pytest.raises(ValueError, match=r"RLE 1: has no counts"):
        mask.area([rle, {"size": [2, 2]}])
    with pytest.raises(ValueError, match=r"RLE 1 has size \[2, 3\]"):
        mask.merge([rle, {"size": [2, 3], "counts": b"6"}])
    with pytest.raises(ValueError, match="must be a dict"):
        mask.toBbox([3])


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_orders_agree(shape: tuple[int, int]) -> None:
    """Row-major, column-major, stacks with masks first, and strides that need a copy; any non-zero value."""
    for single in masks_of(shape):
        expected = pycoco.encode(np.asfortranarray(single))
        assert mask.encode(np.ascontiguousarray(single) * np.uint8(255)) == expected
        assert mask.encode(np.asfortranarray(single)) == expected
        assert mask.encode(np.repeat(np.repeat(single, 2, 0), 2, 1)[::2, ::2]) == expected
    first = np.stack(masks_of(shape))
    assert mask.encode(first.transpose(1, 2, 0)) == pycoco.encode(np.asfortranarray(first.transpose(1, 2, 0)))
    assert mask.encode(np.ascontiguousarray(first.transpose(1, 2, 0))) == mask.encode(first.transpose(1, 2, 0))


@pytest.mark.parametrize("shape", SHAPES)
def test_calls_on_masks(shape: tuple[int, int]) -> None:
    rles = mask.encode(np.stack(masks_of(shape), axis=-1))
    for intersect in (False, True):
        assert mask.merge(rles, intersect) == pycoco.merge(rles, intersect)
        assert mask.merge(rles[3:], intersect) == pycoco.merge(rles[3:], intersect)
        assert mask.merge([], intersect) == {"size": [0, 0], "counts": b""}
    for ours, theirs in ((mask.area, pycoco.area), (mask.toBbox, pycoco.toBbox)):
        assert ours(rles).dtype == theirs(rles).dtype
        np.testing.assert_array_equal(ours(rles), theirs(rles))
        np.testing.assert_array_equal(ours(rles[2]), theirs(rles[2]))
        assert ours([]).shape == theirs([]).shape
    crowd = [0, 1, 0, 1, 0, 1]
    ious, expected = mask.iou(rles, rles, crowd), pycoco.iou(rles, rles, crowd)
    assert ious.flags.f_contiguous
    np.testing.assert_array_equal(ious, expected)


@pytest.mark.parametrize("shape", [(40, 3), (40, 61), (700, 1333), (40_000, 9)])
def test_iou_of_many(shape: tuple[int, int]) -> None:
    """Columns of one to twelve spans, of none, whole columns, noise; within a mask, at its sides, all over."""
    generator = np.random.default_rng(4)
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    masks = [*masks_of(shape), np.repeat(columns % 5 == 0, shape[0], 0)]
    for spans in range(1, 13):
        stripes = (rows + 3 * columns) % (shape[0] // spans) < shape[0] // spans // 2
        left, right = np.sort(generator.integers(0, shape[1] + 1, 2))
        masks.append(stripes & (left <= columns) & (columns < right) & (columns % 7 != 3))
    rles = mask.encode(np.stack(masks, axis=-1).astype(np.uint8))
    crowd = generator.integers(0, 2, len(rles)).tolist()
    np.testing.assert_array_equal(mask.iou(rles, rles, crowd), pycoco.iou(rles, rles, crowd))
    np.testing.assert_array_equal(mask.iou(rles, rles[:2], crowd[:2]), pycoco.iou(rles, rles[:2], crowd[:2]))


def test_iou_of_boxes_and_other_cases() -> None:
    generator = np.random.default_rng(2)
    dt, gt = generator.random((30, 4)) * 50, generator.random((20, 4)) * 50
    gt[3, 2:] = 0
    crowd = generator.integers(0, 2, 20).tolist()
    for found, wanted in ((dt, gt), (dt.tolist(), gt.tolist())):
        np.testing.assert_array_equal(mask.iou(found, wanted, crowd), pycoco.iou(found, wanted, crowd))
    assert mask.iou([], gt, crowd) == pycoco.iou([], gt, crowd) == []
    small, big = mask.encode(np.ones((3, 3), np.uint8)), mask.encode(np.ones((4, 4), np.uint8))
    assert mask.iou([small], [big], [0]) == pycoco.iou([small], [big], [0]) == -1
    with pytest.raises(ValueError, match="each of the 20 ground truths, got 1"):
        mask.iou(dt, gt, [0])
    with pytest.raises(ValueError, match="both be RLE objects, or both boxes"):
        mask.iou([small], [[0, 0, 1, 1]], [0])
    with pytest.raises(ValueError, match="gt must be boxes"):
        mask.iou(dt, gt[:, :3], crowd)
    with pytest.raises(ValueError, match="dt must be boxes x, y, width, height: "):
        mask.iou([BOX, small], [BOX, small], [0, 0])


@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_any_masks(first: np.ndarray) -> None:
    stack = np.asfortranarray(first.transpose(1, 2, 0))
    rles = mask.encode(stack)
    assert rles == pycoco.encode(stack)
    np.testing.assert_array_equal(mask.decode(rles), stack)
    assert mask.merge(rles) == pycoco.merge(rles)
    assert mask.merge(rles, intersect=True) == pycoco.merge(rles, True)
    np.testing.assert_array_equal(mask.decode(mask.merge(rles)), first.max(0))
    np.testing.assert_array_equal(mask.area(rles), first.sum((1, 2)))
    np.testing.assert_array_equal(mask.toBbox(rles), pycoco.toBbox(rles))
    np.testing.assert_array_equal(mask.iou(rles, rles, [0] * len(rles)), pycoco.iou(rles, rles, [0] * len(rles)))


def test_runs_of_length_zero() -> None:
    """Not canonical, but a mask: the second of these is the first."""
    plain, split = {"size": [1, 8], "counts": [2, 4, 2]}, {"size": [1, 8], "counts": [2, 1, 0, 3, 1, 0, 1]}
    assert mask.area(split) == 4
    np.testing.assert_array_equal(mask.toBbox(split), [2, 0, 4, 1])
    assert mask.iou([plain], [split], [0]) == 1
    assert mask.merge([split, split], intersect=True) == mask.frPyObjects(plain, 1, 8)


class OnDemand(Sequence):
    """Items that nobody but the reader holds."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return copy.deepcopy(self.items[index])


def test_items_made_on_demand() -> None:
    rles = mask.encode(np.stack(masks_of((13, 17)), axis=-1))
    polygons = [[float(n), 0.5, n + 5.0, 1.0, n + 2.0, 7.0] for n in range(6)]
    assert mask.merge(OnDemand(rles)) == mask.merge(rles)
    np.testing.assert_array_equal(mask.area(OnDemand(rles)), mask.area(rles))
    assert mask.frPyObjects(OnDemand(polygons), 13, 17) == mask.frPyObjects(polygons, 13, 17)
    assert mask.rasterize(OnDemand([OnDemand(polygons), *rles]), 13, 17) == mask.rasterize([polygons, *rles], 13, 17)


def columns(count: int) -> list[mask.RLE]:
    """Rows 1 and 2 of 4, a mask for each column."""
    runs = np.array([[4 * n + 1, 2, 4 * (count - n) - 3] for n in range(count)], np.int32)
    return mask.from_runs(runs.ravel(), np.arange(count + 1) * 3, np.array([[4, count]] * count))


def test_merge_of_many() -> None:
    """The union grows with every mask, and yet eight times the masks take nowhere near 64 times as long."""
    seconds = []
    for count in (4000, 32000):
        rles = columns(count)
        start = time.process_time()
        merged = mask.merge(rles)
        seconds.append(time.process_time() - start)
        assert merged == mask.encode(np.tile(np.array([[0], [1], [1], [0]], np.uint8), count))
        assert mask.area(mask.merge(rles, intersect=True)) == 0
    assert seconds[1] < 25 * seconds[0]


def test_runs_are_used_once() -> None:
    """Offsets by which masks share runs would make far more out of them than they are."""
    for offsets in ([0, 4, 0], [-1, 2, 4], [0, 2, 5]):
        with pytest.raises(ValueError, match="offsets must ascend from 0 or more to at most the 4 counts"):
            mask.from_runs(np.zeros(4, np.int32), np.array(offsets), np.zeros((2, 2), np.int64))


def test_threads_agree() -> None:
    first = np.random.default_rng(3).random((40, 200, 300)) < 0.5
    results = []
    for threads in (1, 2, 5):
        mask.set_num_threads(threads)
        rles = mask.encode(first.transpose(1, 2, 0))
        results.append((rles, mask.decode(rles).tobytes(), mask.iou(rles, rles, [0] * 40).tobytes()))
    mask.set_num_threads(2)
    assert results[0] == results[1] == results[2]
    rles[7] = {"size": [200, 300], "counts": b"!"}
    with pytest.raises(ValueError, match="RLE 7: malformed"):
        mask.area(rles)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        mask.set_num_threads(0)
