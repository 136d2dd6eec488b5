"""mask_iou against pycocotools: the same float64, from every kind of operand, on every backend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from backends import Backend
from masks.mask_inputs import by_coco, masks_of, pack, placed
from op_checks import assert_compiles, assert_same, assert_threads_agree
from oracles import pycoco

import ldie_ext

SIZES = [(1, 1), (1, 9), (9, 1), (13, 17), (16, 64), (40, 75)]
KINDS = ["bool", "packed", "rle"]


def operand(masks: torch.Tensor, kind: str, backend: Backend) -> torch.Tensor | ldie_ext.RLE:
    if kind == "rle":
        return ldie_ext.RLE.from_coco(by_coco(masks)).to(backend.device)
    return (pack(masks) if kind == "packed" else masks).to(backend.device)


def overlaps(a: torch.Tensor, b: torch.Tensor, kind: str, backend: Backend, **options: Any) -> torch.Tensor:
    """Of masks in one of the kinds."""
    width = a.shape[2] if kind == "packed" else None
    return ldie_ext.mask_iou(operand(a, kind, backend), operand(b, kind, backend), packed_width=width, **options)


def coco_iou(a: torch.Tensor, b: torch.Tensor, crowd: torch.Tensor | None = None) -> torch.Tensor:
    flags = [False] * len(b) if crowd is None else crowd.tolist()
    return torch.from_numpy(pycoco.iou(by_coco(a), by_coco(b), flags))


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_same_numbers_as_coco(backend: Backend, size: tuple[int, int], kind: str) -> None:
    a, b = masks_of(size), masks_of(size)[1:]
    iou = overlaps(a, b, kind, backend)
    assert iou.device.type == backend.device.type
    assert_same(iou.cpu(), coco_iou(a, b))


@pytest.mark.parametrize("kind", KINDS)
def test_crowds(backend: Backend, kind: str) -> None:
    a, b = masks_of((13, 17)), masks_of((13, 17))
    crowd = torch.arange(len(b)) % 2 == 0
    iou = overlaps(a, b, kind, backend, crowd=crowd.to(backend.device))
    assert_same(iou.cpu(), coco_iou(a, b, crowd))


def blobs(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Masks that fill a part of the image each, as instances do."""
    noise = torch.nn.functional.interpolate(torch.rand(count, 1, 7, 9), size=size, mode="bilinear")[:, 0]
    return noise > noise.flatten(1).quantile(0.9, dim=1)[:, None, None]


def test_more_masks_than_a_tile_and_shares_of_the_words(backend: Backend) -> None:
    a, b = blobs(135, (60, 150)), blobs(167, (60, 150))
    expected = coco_iou(a, b)
    for kind in KINDS:
        assert_same(overlaps(a, b, kind, backend).cpu(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_large_masks(kind: str) -> None:
    a, b = blobs(12, (480, 643)), blobs(9, (480, 643))
    cpu = Backend("cpu", torch.device("cpu"), "ldie_ext")
    assert_same(overlaps(a, b, kind, cpu), coco_iou(a, b))


def test_runs_of_zero_in_the_middle(backend: Backend) -> None:
    counts = torch.tensor([1, 0, 1, 2, 0, 0], dtype=torch.int32)
    rle = ldie_ext.RLE(counts, torch.tensor([0, 6]), torch.tensor([[2, 2]])).to(backend.device)
    assert ldie_ext.mask_iou(rle, rle).tolist() == [[1.0]]


def test_size_of_run_lengths_given(backend: Backend) -> None:
    rle = ldie_ext.rle_encode(masks_of((13, 17)).to(backend.device))
    assert_same(ldie_ext.mask_iou(rle, rle, size=(13, 17)), ldie_ext.mask_iou(rle, rle))
    assert_compiles(
        lambda counts: ldie_ext.mask_iou(ldie_ext.RLE(counts, rle.offsets, rle.sizes), rle, size=(13, 17)), rle.counts
    )


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (3, 4, 0)])
def test_empty(backend: Backend, shape: tuple[int, int, int]) -> None:
    a = torch.zeros(shape, dtype=torch.bool, device=backend.device)
    b = torch.ones((2, *shape[1:]), dtype=torch.bool, device=backend.device)
    for convert in (torch.Tensor.clone, ldie_ext.rle_encode):
        iou = ldie_ext.mask_iou(convert(a), convert(b))
        assert iou.shape == (shape[0], 2)
        assert not iou.any()
        assert ldie_ext.mask_iou(convert(b), convert(a)).shape == (2, shape[0])


def test_non_contiguous(backend: Backend) -> None:
    masks = masks_of((13, 17)).to(backend.device)
    strided = masks.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same(ldie_ext.mask_iou(strided, masks[::2]), ldie_ext.mask_iou(masks, masks)[:, ::2])


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", ["bool", "packed"])
def test_masks_anywhere_in_memory(backend: Backend, kind: str) -> None:
    masks = masks_of((13, 75))
    inputs = operand(masks, kind, backend)
    for offset in (1, 4, 15):
        iou = ldie_ext.mask_iou(placed(inputs, offset), inputs, packed_width=75 if kind == "packed" else None)
        assert_same(iou.cpu(), coco_iou(masks, masks))


def test_errors_name_the_argument(backend: Backend) -> None:
    masks = masks_of((4, 9)).to(backend.device)
    rle = ldie_ext.rle_encode(masks)
    with pytest.raises(TypeError, match="a and b must be of one kind, got RLE and Tensor"):
        ldie_ext.mask_iou(rle, masks)
    with pytest.raises(ValueError, match=r"masks of one size, got \(4, 9\) and \(4, 8\)"):
        ldie_ext.mask_iou(rle, ldie_ext.rle_encode(masks[..., :8]))
    with pytest.raises(RuntimeError, match="a must be uint8, got"):
        ldie_ext.mask_iou(masks, masks, packed_width=9)
    with pytest.raises(RuntimeError, match=r"b must have shape \[M, H, W\] with the size of a"):
        ldie_ext.mask_iou(masks, masks[..., :8])
    with pytest.raises(RuntimeError, match=r"crowd must have shape \[M\]"):
        ldie_ext.mask_iou(masks, masks, crowd=torch.zeros(2, dtype=torch.bool, device=backend.device))
    with pytest.raises(RuntimeError, match="crowd must be bool"):
        ldie_ext.mask_iou(masks, masks, crowd=torch.zeros(len(masks), device=backend.device))
    with pytest.raises(RuntimeError, match="less than 2\\^31 pixels"):
        ldie_ext.mask_iou(masks[:1, :1, :1].expand(0, 2**16, 2**15), masks)


def test_dispatcher_contract(backend: Backend) -> None:
    masks = masks_of((5, 11)).to(backend.device)
    rle = ldie_ext.rle_encode(masks)
    torch.library.opcheck(backend.op("mask_iou"), (masks, masks, 11, False, None))
    runs = (rle.counts, rle.offsets)
    torch.library.opcheck(backend.op("mask_iou_rle"), (*runs, *runs, 5, 11, masks[:, 0, 0]))


def test_compiles(backend: Backend) -> None:
    masks = masks_of((5, 11)).to(backend.device)
    assert_compiles(lambda masks: ldie_ext.mask_iou(masks, masks), masks)


def test_threads_agree() -> None:
    masks = torch.rand(60, 40, 70) < 0.5
    assert_threads_agree(lambda: ldie_ext.mask_iou(masks, masks))
