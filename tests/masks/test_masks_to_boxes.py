"""masks_to_boxes against pixels found one by one, and against torchvision, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from masks.mask_inputs import masks_of, pack, placed
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

SIZES = [(1, 1), (1, 9), (9, 1), (13, 17), (16, 64), (40, 75)]


def reference(masks: torch.Tensor, last: int) -> torch.Tensor:
    boxes = torch.zeros(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        ys, xs = mask.nonzero(as_tuple=True)
        if len(xs) > 0:
            box[:] = torch.stack([xs.min(), ys.min(), xs.max() + last, ys.max() + last])
    return boxes


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("packed", [False, True])
def test_matches_reference(backend: Backend, size: tuple[int, int], packed: bool) -> None:
    masks = masks_of(size)
    inputs = (pack(masks) if packed else masks).to(backend.device)
    width = size[1] if packed else None
    assert_same(ldie_ext.masks_to_boxes(inputs, packed_width=width).cpu(), reference(masks, 0))
    beyond = ldie_ext.masks_to_boxes(inputs, packed_width=width, convention="detectron2")
    assert_same(beyond.cpu(), reference(masks, 1))


@pytest.mark.parametrize("width", [75, 1333, 2100])
@pytest.mark.parametrize("packed", [False, True])
def test_few_pixels_far_apart(backend: Backend, width: int, packed: bool) -> None:
    """Rows in any order widen the box, by pixels anywhere in words, registers and blocks of these."""
    masks = torch.zeros(60, 23, width, dtype=torch.bool)
    for number, mask in enumerate(masks):
        pixels = torch.randint(23 * width, (number // 6,))
        mask.view(-1)[pixels] = True
    inputs = (pack(masks) if packed else masks).to(backend.device)
    for offset in (0, 1, 37):
        boxes = ldie_ext.masks_to_boxes(placed(inputs, offset), packed_width=width if packed else None)
        assert_same(boxes.cpu(), reference(masks, 0))


def test_matches_torchvision() -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(500):
        size = torch.randint(1, 90, (2,)).tolist()
        masks = torch.rand(4, *size) < 0.5 / (1 + number % 20)
        masks[:, size[0] // 2, size[1] // 2] = True
        assert_same(ldie_ext.masks_to_boxes(masks), tv.masks_to_boxes(masks))


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_empty(backend: Backend, shape: tuple[int, int, int]) -> None:
    boxes = ldie_ext.masks_to_boxes(torch.zeros(shape, dtype=torch.bool, device=backend.device))
    assert_same(boxes.cpu(), torch.zeros(shape[0], 4))


def test_non_contiguous(backend: Backend) -> None:
    masks = masks_of((13, 17)).to(backend.device)
    assert_same(ldie_ext.masks_to_boxes(masks.mT).cpu(), reference(masks.cpu().mT, 0))


@pytest.mark.sanitize
@pytest.mark.parametrize("packed", [False, True])
def test_masks_anywhere_in_memory(backend: Backend, packed: bool) -> None:
    masks = masks_of((13, 75))
    inputs = (pack(masks) if packed else masks).to(backend.device)
    for offset in (1, 4, 15):
        boxes = ldie_ext.masks_to_boxes(placed(inputs, offset), packed_width=masks.shape[2] if packed else None)
        assert_same(boxes.cpu(), reference(masks, 0))


def test_errors_name_the_argument(backend: Backend) -> None:
    masks = masks_of((4, 9)).to(backend.device)
    with pytest.raises(ValueError, match="convention must be one of"):
        ldie_ext.masks_to_boxes(masks, convention="coco")
    with pytest.raises(RuntimeError, match="masks must be uint8, got"):
        ldie_ext.masks_to_boxes(masks, packed_width=9)
    with pytest.raises(RuntimeError, match=r"masks packed to a packed_width of 9 must have shape \[N, H, 2\]"):
        ldie_ext.masks_to_boxes(masks.byte(), packed_width=9)
    with pytest.raises(RuntimeError, match=r"masks must have shape \[N, H, W\]"):
        ldie_ext.masks_to_boxes(masks[0])
    with pytest.raises(RuntimeError, match="less than 2\\^31 pixels"):
        ldie_ext.masks_to_boxes(masks[:1, :1, :1].expand(1, 2**16, 2**15))


def test_dispatcher_contract(backend: Backend) -> None:
    torch.library.opcheck(backend.op("masks_to_boxes"), (masks_of((5, 11)).to(backend.device), 11, False, True))


def test_compiles(backend: Backend) -> None:
    assert_compiles(ldie_ext.masks_to_boxes, masks_of((5, 11)).to(backend.device))


def test_threads_agree() -> None:
    masks = torch.rand(60, 60, 70) < 0.01
    assert_threads_agree(lambda: ldie_ext.masks_to_boxes(masks))
