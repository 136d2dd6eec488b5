"""Run lengths as tensors: COCO's dicts there and back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import pycoco

import ldie_ext


def random_rles(count: int) -> list[dict]:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 60, (count, 2))
    return [pycoco.encode(np.asfortranarray(generator.random(size) < 0.3, dtype=np.uint8)) for size in sizes]


def test_round_trip_is_byte_identical() -> None:
    rles = random_rles(50)
    flat = ldie_ext.RLE.from_coco(rles)
    assert len(flat) == 50
    assert flat.to_coco() == rles
    for n, rle in enumerate(rles):
        runs = flat.counts[flat.offsets[n] : flat.offsets[n + 1]].tolist()
        expected = pycoco.decode(rle).flatten(order="F")
        assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs), expected)


def test_uncompressed_and_text_counts() -> None:
    flat = ldie_ext.RLE.from_coco([{"size": [2, 2], "counts": [0, 4]}, {"size": [2, 2], "counts": "13"}])
    assert flat.counts.tolist() == [0, 4, 1, 3]


def test_none() -> None:
    flat = ldie_ext.RLE.from_coco([])
    assert len(flat) == 0
    assert flat.to_coco() == []


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2], "counts": b"5"}, "RLE 1: RLE counts do not fit the mask"),
        ({"size": [2, 2], "counts": b"\x01"}, "RLE 1: malformed"),
        ({"size": [2, 2], "counts": [1, -1]}, "RLE 1: counts must be run lengths from 0 to 2"),
        ({"size": [2, 2], "counts": [1, 1]}, "RLE 1: RLE counts add up to 2"),
        ({"size": [2, 2]}, "RLE 1: has no counts"),
        ({"size": [2], "counts": b"13"}, r"RLE 1: size must be \[height, width\]"),
        ({"size": [-2, -2], "counts": b"13"}, "RLE 1: size must be"),
        ({"size": [2**20, 2**20], "counts": b"13"}, "RLE 1: size must be .* less than 2\\^31"),
    ],
)
def test_bad_object_is_named(rle: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ldie_ext.RLE.from_coco([{"size": [2, 2], "counts": b"13"}, rle])


def test_bad_runs_are_named() -> None:
    def rle(counts: list[int], offsets: list[int]) -> ldie_ext.RLE:
        return ldie_ext.RLE(torch.tensor(counts, dtype=torch.int32), torch.tensor(offsets), torch.tensor([[2, 2]]))

    with pytest.raises(ValueError, match="RLE 0: RLE counts add up to 3, the mask has 4"):
        rle([1, 2], [0, 2]).to_coco()
    with pytest.raises(ValueError, match="RLE 0: run 1 is negative"):
        rle([5, -1], [0, 2]).to_coco()
    with pytest.raises(ValueError, match="offsets must ascend from 0 or more to at most the 2 counts"):
        rle([1, 3], [0, 9]).to_coco()


def test_bad_tensors_are_named() -> None:
    counts, offsets, sizes = torch.zeros(2, dtype=torch.int32), torch.tensor([0, 2]), torch.tensor([[2, 2]])
    with pytest.raises(ValueError, match="counts must be int32"):
        ldie_ext.RLE(counts.long(), offsets, sizes)
    with pytest.raises(ValueError, match="offsets must be int64"):
        ldie_ext.RLE(counts, offsets[:0], sizes)
    with pytest.raises(ValueError, match=r"sizes must be int64 \[1, 2\]"):
        ldie_ext.RLE(counts, offsets, sizes[:0])
