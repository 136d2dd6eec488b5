"""rle_decode against the masks that were encoded by pycocotools, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from masks.mask_inputs import by_coco, masks_of, pack
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

SIZES = [(1, 1), (1, 9), (9, 1), (13, 17), (16, 64), (40, 75)]


def encoded(masks: torch.Tensor, backend: Backend) -> ldie_ext.RLE:
    return ldie_ext.RLE.from_coco(by_coco(masks)).to(backend.device)


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
def test_same_pixels(backend: Backend, size: tuple[int, int]) -> None:
    masks = masks_of(size)
    rle = encoded(masks, backend)
    assert_same(ldie_ext.rle_decode(rle).cpu(), masks)
    assert_same(ldie_ext.rle_decode(rle, packed=True).cpu(), pack(masks))


def test_several_rectangles(backend: Backend) -> None:
    masks = masks_of((270, 530))[4:]
    assert_same(ldie_ext.rle_decode(encoded(masks, backend)).cpu(), masks)


def test_large_masks_start_from_zero() -> None:
    masks = (torch.rand(30, 1100, 1100) < 0.01) & (torch.rand(30, 1, 1) < 0.5)
    rle = ldie_ext.rle_encode(masks)
    decoded = ldie_ext.rle_decode(rle)
    assert decoded.nbytes >= 32 << 20
    assert_same(decoded, masks)


def test_runs_of_zero_in_the_middle(backend: Backend) -> None:
    counts = torch.tensor([1, 0, 1, 2, 0, 0], dtype=torch.int32)
    rle = ldie_ext.RLE(counts, torch.tensor([0, 6]), torch.tensor([[2, 2]])).to(backend.device)
    assert ldie_ext.rle_decode(rle).tolist() == [[[False, True], [False, True]]]


def test_empty(backend: Backend) -> None:
    none = encoded(torch.zeros(0, 4, 4, dtype=torch.bool), backend)
    assert ldie_ext.rle_decode(none).shape == (0, 0, 0)
    assert ldie_ext.rle_decode(none, size=(4, 5), packed=True).shape == (0, 4, 1)
    flat = ldie_ext.rle_encode(torch.zeros(2, 0, 4, dtype=torch.bool, device=backend.device))
    assert ldie_ext.rle_decode(flat).shape == (2, 0, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_out(backend: Backend, packed: bool) -> None:
    rle = encoded(masks_of((13, 17)), backend)
    expected = ldie_ext.rle_decode(rle, packed=packed)
    out = torch.full_like(expected, 1)
    assert ldie_ext.rle_decode(rle, packed=packed, out=out) is out
    assert_same(out, expected)


@pytest.mark.sanitize
@pytest.mark.parametrize("packed", [False, True])
def test_out_anywhere_in_memory(backend: Backend, packed: bool) -> None:
    rle = encoded(masks_of((5, 275)), backend)
    expected = ldie_ext.rle_decode(rle, packed=packed)
    for offset in (1, 6, 15):
        memory = torch.ones(2 * offset + expected.numel(), dtype=expected.dtype, device=backend.device)
        ldie_ext.rle_decode(rle, packed=packed, out=memory[offset:-offset].view(expected.shape))
        assert_same(memory[offset:-offset].view(expected.shape), expected)
        assert memory[:offset].all() and memory[-offset:].all(), "what lies around the masks was written"


def test_non_contiguous(backend: Backend) -> None:
    rle = encoded(masks_of((13, 17)), backend)
    strided = ldie_ext.RLE(rle.counts.repeat_interleave(2)[::2], rle.offsets.repeat_interleave(2)[::2], rle.sizes)
    assert_same(ldie_ext.rle_decode(strided), ldie_ext.rle_decode(rle))


def test_errors_name_the_argument(backend: Backend) -> None:
    rle = encoded(masks_of((4, 9)), backend)
    sizes = rle.sizes.clone()
    sizes[3, 0] = 5
    with pytest.raises(ValueError, match=r"masks of one size: mask 0 has \[4, 9\], mask 3 has \[5, 9\]"):
        ldie_ext.rle_decode(ldie_ext.RLE(rle.counts, rle.offsets, sizes))
    with pytest.raises(RuntimeError, match="out must be bool"):
        ldie_ext.rle_decode(rle, out=torch.zeros(9, 4, 9, device=backend.device))
    with pytest.raises(RuntimeError, match=r"out must have shape \[N, H, W\]"):
        ldie_ext.rle_decode(rle, out=torch.zeros(9, 9, 4, dtype=torch.bool, device=backend.device))
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match=r"the runs of mask 0 add up to 36, its size \(5, 9\) has 45 pixels"):
            ldie_ext.rle_decode(rle, size=(5, 9))
        negative = ldie_ext.RLE(rle.counts - 9, rle.offsets, rle.sizes)
        with pytest.raises(RuntimeError, match="mask 1 has a negative run: -9"):
            ldie_ext.rle_decode(negative, size=(3, 9))


def test_dispatcher_contract(backend: Backend) -> None:
    rle = encoded(masks_of((5, 11)), backend)
    out = torch.zeros(9, 5, 2, dtype=torch.uint8, device=backend.device)
    torch.library.opcheck(backend.op("rle_decode"), (rle.counts, rle.offsets, 5, 11, False))
    torch.library.opcheck(backend.op("rle_decode_out"), (rle.counts, rle.offsets, 5, 11, True, out))


def test_compiles(backend: Backend) -> None:
    rle = encoded(masks_of((5, 11)), backend)

    def function(counts: torch.Tensor) -> torch.Tensor:
        return ldie_ext.rle_decode(ldie_ext.RLE(counts, rle.offsets, rle.sizes), size=(5, 11))

    assert_compiles(function, rle.counts)


def test_threads_agree() -> None:
    rle = ldie_ext.rle_encode(torch.rand(40, 60, 70) < 0.5)
    assert_threads_agree(lambda: ldie_ext.rle_decode(rle))
