"""rle_to_boxes against pycocotools, on every backend."""

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
    boxes = ldie_ext.rle_to_boxes(ldie_ext.RLE.from_coco(strings).to(backend.device)).cpu()
    boxes[:, 2:] -= boxes[:, :2]
    assert_same(boxes, torch.from_numpy(pycoco.toBbox(strings)).float())


def test_runs_of_zero_in_the_middle(backend: Backend) -> None:
    counts = torch.tensor([1, 0, 2, 1, 0, 0], dtype=torch.int32)
    rle = ldie_ext.RLE(counts, torch.tensor([0, 6]), torch.tensor([[2, 2]])).to(backend.device)
    assert ldie_ext.rle_to_boxes(rle).tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_empty(backend: Backend, shape: tuple[int, int, int]) -> None:
    rle = ldie_ext.rle_encode(torch.zeros(shape, dtype=torch.bool, device=backend.device))
    assert_same(ldie_ext.rle_to_boxes(rle).cpu(), torch.zeros(shape[0], 4))


def test_non_contiguous(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((13, 17)).to(backend.device))
    strided = ldie_ext.RLE(rle.counts.repeat_interleave(2)[::2], rle.offsets.repeat_interleave(2)[::2], rle.sizes)
    assert_same(ldie_ext.rle_to_boxes(strided), ldie_ext.rle_to_boxes(rle))


def test_malformed(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((4, 9)).to(backend.device))
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match=r"the runs of mask 0 add up to 36, its size \(0, 0\) has 0 pixels"):
            ldie_ext.rle_to_boxes(ldie_ext.RLE(rle.counts, rle.offsets, torch.zeros_like(rle.sizes)))
        with pytest.raises(RuntimeError, match="mask 1 has a negative run: -9"):
            ldie_ext.rle_to_boxes(ldie_ext.RLE(rle.counts - 9, rle.offsets, torch.tensor([[3, 9]]).expand(9, 2)))


def test_dispatcher_contract(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((5, 11)).to(backend.device))
    torch.library.opcheck(backend.op("rle_to_boxes"), (rle.counts, rle.offsets, rle.sizes))


def test_compiles(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((5, 11)).to(backend.device))
    assert_compiles(lambda counts: ldie_ext.rle_to_boxes(ldie_ext.RLE(counts, rle.offsets, rle.sizes)), rle.counts)


def test_threads_agree() -> None:
    rle = ldie_ext.rle_encode(torch.rand(60, 60, 70) < 0.5)
    assert_threads_agree(lambda: ldie_ext.rle_to_boxes(rle))
