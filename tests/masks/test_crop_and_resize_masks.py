"""crop_and_resize_masks against the reference of RoIAlign, and against torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from reference.roi import multiscale_roi_align
from torch import Tensor

import ldie_ext

HEIGHT, WIDTH = 37, 52
nan, inf = float("nan"), float("inf")


def blobs(count: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """bool [count, height, width], about half of it set, in pieces of some pixels."""
    coarse = torch.rand(count, 1, height // 5 + 2, width // 5 + 2)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[:, 0] > 0.5


def pack(masks: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(masks.cpu().numpy(), axis=-1, bitorder="little")).to(masks.device)


def means(masks: Tensor, boxes: Tensor, size: int, aligned: bool) -> Tensor:
    """RoIAlign of a float64 copy of the masks."""
    features = masks[:, None].double()
    return multiscale_roi_align([features], range(len(boxes)), boxes.double(), (size, size), [1.0], aligned=aligned)[
        :, 0
    ]


def crop(masks: Tensor, boxes: Tensor, size: int, backend: Backend, **options: object) -> Tensor:
    return ldie_ext.crop_and_resize_masks(masks.to(backend.device), boxes.to(backend.device), size, **options).cpu()


@pytest.mark.sanitize
@pytest.mark.parametrize("size", [1, 7, 28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_conventions(backend: Backend, size: int, dtype: torch.dtype) -> None:
    masks, boxes = blobs(6), random_boxes(6, HEIGHT, WIDTH, dtype=dtype)
    values = crop(masks, boxes, size, backend, convention="torchvision")
    assert values.dtype == dtype
    torch.testing.assert_close(values.double(), means(masks, boxes, size, False), rtol=0, atol=1e-5)
    exact = means(masks, boxes, size, True)
    clear = (exact - 0.5).abs() > 1e-5
    bits = crop(masks, boxes, size, backend, convention="detectron2")
    assert clear.double().mean() > 0.9
    assert_same(bits[clear], exact[clear] >= 0.5)


def test_packed_masks_are_the_same(backend: Backend) -> None:
    masks, boxes = blobs(5), random_boxes(5, HEIGHT, WIDTH)
    for convention in ("torchvision", "detectron2"):
        expected = crop(masks, boxes, 14, backend, convention=convention)
        packed = crop(pack(masks), boxes, 14, backend, convention=convention, packed_width=WIDTH)
        assert_same(packed, expected)


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
def test_kernels_give_the_same_bits(convention: str, backend: Backend) -> None:
    """Every backend gives what the CPU gives, also on the edge of a half."""
    masks, boxes = blobs(8), random_boxes(8, HEIGHT, WIDTH).round()
    values = crop(masks, boxes, 14, backend, convention=convention)
    expected = torch.ops.ldie_ext.crop_and_resize_masks(
        masks, WIDTH, False, boxes, None, 14, convention == "detectron2"
    )
    assert_same(values, expected)


def test_halves_are_set(backend: Backend) -> None:
    """Seven samples a bin, of which the left half is set: exactly one half, however it is divided."""
    masks = torch.zeros(1, 14, 14, dtype=torch.bool)
    masks[:, :, :7] = True
    box = torch.tensor([[3.5, 0.0, 10.5, 7.0]])
    assert crop(masks, box, 1, backend, convention="detectron2").all()
    assert crop(masks, box, 1, backend, convention="torchvision").shape == (1, 1, 1)


def test_instances_choose_masks(backend: Backend) -> None:
    masks, boxes, index = blobs(3), random_boxes(6, HEIGHT, WIDTH), torch.tensor([2, 0, -1, 1, 3, 2])
    crops = crop(masks, boxes, 14, backend, instances=index.to(backend.device))
    expected = crop(masks[index.clamp(0, 2)], boxes, 14, backend)
    expected[[2, 4]] = False
    assert_same(crops, expected)


def test_degenerate_boxes(backend: Backend) -> None:
    wild = torch.tensor([[nan, 0, 4, 4], [0, 0, inf, 4], [-inf, -inf, inf, inf], [90, 90, 99, 99], [-40, 0, -9, 9]])
    point = torch.tensor([[3.0, 3, 3, 9], [9, 9, 2, 2]])
    ones = torch.ones(5, 12, 13, dtype=torch.bool)
    for convention in ("torchvision", "detectron2"):
        assert not crop(ones, wild, 4, backend, convention=convention).any()
    assert not crop(ones[:2], point, 4, backend, convention="detectron2").any()
    assert crop(ones[:2], point, 4, backend, convention="torchvision").gt(0.99).all()


def test_huge_box(backend: Backend) -> None:
    box = torch.tensor([[-3e4, -3e4, 3e4, 3e4]])
    assert not crop(blobs(1), box, 1, backend, convention="torchvision").gt(0.01).any()


def test_empty(backend: Backend) -> None:
    assert crop(blobs(0), torch.zeros(0, 4), 7, backend).shape == (0, 7, 7)
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    assert not crop(torch.ones(1, 0, 5, dtype=torch.bool), box, 7, backend).any()


def test_non_contiguous(backend: Backend) -> None:
    masks, boxes = blobs(4).to(backend.device), random_boxes(4, HEIGHT, WIDTH, dtype=torch.float16).to(backend.device)
    expected = ldie_ext.crop_and_resize_masks(masks, boxes.float(), 9)
    assert_same(ldie_ext.crop_and_resize_masks(masks.mT.contiguous().mT, boxes.mT.contiguous().mT, 9), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    masks, boxes = blobs(2).to(backend.device), torch.zeros(2, 4, device=backend.device)
    call = ldie_ext.crop_and_resize_masks
    with pytest.raises(RuntimeError, match=r"masks must have shape \[G, H, ceil\(W / 8\)\]"):
        call(masks.byte(), boxes, 7, packed_width=WIDTH)
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], one per mask, got \[1, 4\]"):
        call(masks, boxes[:1], 7)
    with pytest.raises(RuntimeError, match="mask_size must be at least 1"):
        call(masks, boxes, 0)
    with pytest.raises(RuntimeError, match=r"instances must have shape \[N\]"):
        call(masks, boxes, 7, instances=torch.zeros(3, dtype=torch.int64, device=backend.device))
    with pytest.raises(RuntimeError, match="instances must be int64"):
        call(masks, boxes, 7, instances=torch.zeros(2, device=backend.device))
    with pytest.raises(ValueError, match="convention must be one of"):
        call(masks, boxes, 7, convention="mmdet")


def test_dispatcher_contract(backend: Backend) -> None:
    masks, boxes = blobs(2).to(backend.device), random_boxes(2, HEIGHT, WIDTH).to(backend.device)
    for aligned in (False, True):
        torch.library.opcheck(backend.op("crop_and_resize_masks"), (masks, WIDTH, False, boxes, None, 7, aligned))


def test_compiles(backend: Backend) -> None:
    masks, boxes = blobs(2).to(backend.device), random_boxes(2, HEIGHT, WIDTH).to(backend.device)
    assert_compiles(lambda *args: ldie_ext.crop_and_resize_masks(*args, 7), masks, boxes)


def test_threads_agree() -> None:
    masks, boxes = blobs(30), random_boxes(30, HEIGHT, WIDTH)
    assert_threads_agree(lambda: ldie_ext.crop_and_resize_masks(masks, boxes, 14, convention="torchvision"))


def test_same_as_torchvision() -> None:
    tv = pytest.importorskip("torchvision")
    for seed in range(40):
        torch.manual_seed(seed)
        size = int(torch.randint(1, 30, ()))
        masks, boxes = blobs(10, 60, 71), random_boxes(10, 60, 71)
        boxes = boxes.round() if seed % 2 else boxes
        rois = torch.cat([torch.arange(10.0)[:, None], boxes], dim=1)
        values = tv.ops.roi_align(masks[:, None].float(), rois, (size, size), 1.0)[:, 0]
        torch.testing.assert_close(
            ldie_ext.crop_and_resize_masks(masks, boxes, size, convention="torchvision"), values, rtol=0, atol=1e-6
        )
        half = tv.ops.roi_align(masks[:, None].float(), rois, (size, size), 1.0, 0, True)[:, 0] >= 0.5
        assert_same(ldie_ext.crop_and_resize_masks(masks, boxes, size, convention="detectron2"), half)
