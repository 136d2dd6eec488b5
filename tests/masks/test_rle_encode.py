"""rle_encode against pycocotools: the same bytes, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from masks.mask_inputs import by_coco, masks_of, pack
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

SIZES = [(1, 1), (1, 9), (9, 1), (13, 17), (16, 64), (40, 75)]


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("packed", [False, True])
def test_same_bytes_as_coco(backend: Backend, size: tuple[int, int], packed: bool) -> None:
    masks = masks_of(size)
    inputs = (pack(masks) if packed else masks).to(backend.device)
    rle = ldie_ext.rle_encode(inputs, packed_width=size[1] if packed else None)
    assert rle.counts.device.type == backend.device.type
    assert rle.to_coco() == by_coco(masks)


def test_bits_beyond_the_width_are_no_pixels(backend: Backend) -> None:
    masks = masks_of((5, 11))
    packed = pack(masks)
    packed[..., -1] |= 0b11111000
    assert ldie_ext.rle_encode(packed.to(backend.device), packed_width=11).to_coco() == by_coco(masks)


def test_large_masks() -> None:
    masks = torch.nn.functional.interpolate(torch.rand(6, 1, 9, 15), size=(480, 640), mode="bilinear")[:, 0] > 0.5
    assert ldie_ext.rle_encode(masks).to_coco() == by_coco(masks)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_empty(backend: Backend, shape: tuple[int, int, int]) -> None:
    rle = ldie_ext.rle_encode(torch.zeros(shape, dtype=torch.bool, device=backend.device))
    assert len(rle) == shape[0]
    assert rle.counts.tolist() == [0] * shape[0]
    assert rle.offsets.tolist() == list(range(shape[0] + 1))


def test_room_for_a_fixed_number_of_runs(backend: Backend) -> None:
    masks = masks_of((13, 17)).to(backend.device)
    whole = ldie_ext.rle_encode(masks)
    total = len(whole.counts)
    roomy = ldie_ext.rle_encode(masks, max_runs=total + 5)
    assert_same(roomy.offsets, whole.offsets)
    assert_same(roomy.counts[:total], whole.counts)
    assert not roomy.counts[total:].any()
    tight = ldie_ext.rle_encode(masks, max_runs=total - 5)
    assert_same(tight.counts, whole.counts[:-5])
    assert int(tight.offsets[-1]) > len(tight.counts)


def test_non_contiguous(backend: Backend) -> None:
    masks = masks_of((13, 17)).to(backend.device)
    strided = masks.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same(ldie_ext.rle_encode(strided).counts, ldie_ext.rle_encode(masks).counts)


def test_errors_name_the_argument(backend: Backend) -> None:
    masks = torch.zeros(2, 4, 9, dtype=torch.bool, device=backend.device)
    with pytest.raises(RuntimeError, match=r"masks must have shape \[N, H, W\]"):
        ldie_ext.rle_encode(masks[0])
    with pytest.raises(RuntimeError, match=r"masks packed to a packed_width of 9 must have shape \[N, H, 2\]"):
        ldie_ext.rle_encode(masks.byte(), packed_width=9)
    with pytest.raises(RuntimeError, match="max_runs must be at least 0"):
        ldie_ext.rle_encode(masks, max_runs=-1)
    with pytest.raises(RuntimeError, match="less than 2\\^31 pixels"):
        ldie_ext.rle_encode(masks[:1, :1, :1].expand(0, 2**16, 2**15))


def test_dispatcher_contract(backend: Backend) -> None:
    masks = masks_of((5, 11)).to(backend.device)
    torch.library.opcheck(backend.op("rle_encode"), (masks, 11, False, 400))
    torch.library.opcheck(backend.op("rle_encode"), (masks, 11, False, None))


def test_compiles(backend: Backend) -> None:
    masks = masks_of((5, 11)).to(backend.device)
    assert_compiles(lambda masks: ldie_ext.rle_encode(masks, max_runs=400).counts, masks)


def test_threads_agree() -> None:
    masks = torch.rand(40, 60, 70) < 0.5
    assert_threads_agree(lambda: ldie_ext.rle_encode(masks).counts)
