"""rle_area against pycocotools, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from masks.mask_inputs import by_coco, masks_of
from op_checks import assert_compiles, assert_same, assert_threads_agree
from oracles import pycoco

import ldie_ext

SIZES = [(1, 1), (1, 9), (9, 1), (13, 17), (40, 75)]


@pytest.mark.sanitize
def test_same_as_coco(backend: Backend) -> None:
    strings = [rle for size in SIZES for rle in by_coco(masks_of(size))]
    areas = ldie_ext.rle_area(ldie_ext.RLE.from_coco(strings).to(backend.device))
    assert areas.tolist() == pycoco.area(strings).tolist()


def test_empty(backend: Backend) -> None:
    for shape in ((0, 4, 4), (2, 0, 4)):
        rle = ldie_ext.rle_encode(torch.zeros(shape, dtype=torch.bool, device=backend.device))
        assert ldie_ext.rle_area(rle).tolist() == [0] * shape[0]


def test_non_contiguous(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((13, 17)).to(backend.device))
    strided = ldie_ext.RLE(rle.counts.repeat_interleave(2)[::2], rle.offsets.repeat_interleave(2)[::2], rle.sizes)
    assert_same(ldie_ext.rle_area(strided), ldie_ext.rle_area(rle))


def test_offsets_beyond_the_counts(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((4, 9)).to(backend.device))
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to the number of counts"):
            ldie_ext.rle_area(ldie_ext.RLE(rle.counts[:-1], rle.offsets, rle.sizes))


def test_dispatcher_contract(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((5, 11)).to(backend.device))
    torch.library.opcheck(backend.op("rle_area"), (rle.counts, rle.offsets))


def test_compiles(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((5, 11)).to(backend.device))
    assert_compiles(lambda counts: ldie_ext.rle_area(ldie_ext.RLE(counts, rle.offsets, rle.sizes)), rle.counts)


def test_threads_agree() -> None:
    rle = ldie_ext.rle_encode(torch.rand(60, 60, 70) < 0.5)
    assert_threads_agree(lambda: ldie_ext.rle_area(rle))
