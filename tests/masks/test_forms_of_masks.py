"""Every function that takes masks takes them bool, as numbers, and packed where it is told so, to one result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from backends import Backend
from masks.mask_inputs import pack
from op_checks import random_boxes
from torch import Tensor

import ldie_ext
from ldie_ext import RLE

COUNT, HEIGHT, WIDTH = 6, 11, 21

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "masks_to_boxes": lambda masks, **packed: ldie_ext.masks_to_boxes(masks, **packed),
    "mask_centers": lambda masks, **packed: ldie_ext.mask_centers(masks, **packed),
    "mask_iou": lambda masks, **packed: ldie_ext.mask_iou(masks, masks, **packed),
    "mask_nms": lambda masks, **packed: ldie_ext.mask_nms(masks, *labelled(masks), 0.2, **packed),
    "matrix_nms": lambda masks, **packed: ldie_ext.matrix_nms(masks, *labelled(masks), **packed),
    "rle_encode": lambda masks, **packed: ldie_ext.rle_encode(masks, **packed),
    "mask_target_pyramid": lambda masks, **packed: pyramid(masks, **packed),
    "crop_and_resize_masks": lambda masks, **packed: ldie_ext.crop_and_resize_masks(masks, boxes(masks), 5, **packed),
    "solo_assign": lambda masks, **packed: solo_assign(masks, **packed),
}


def pyramid(masks: Tensor, **packed: int) -> tuple[Tensor, ...]:
    levels, centers, areas = ldie_ext.mask_target_pyramid(masks, (1, 4, 16), **packed)
    return (*levels, centers, areas)


def labelled(masks: Tensor) -> tuple[Tensor, Tensor]:
    labels = torch.arange(COUNT, device=masks.device) % 2
    return labels, torch.linspace(0.9, 0.3, COUNT, device=masks.device)


def boxes(masks: Tensor) -> Tensor:
    generated = random_boxes(COUNT, HEIGHT, WIDTH)
    generated[:, 2:] += 2
    return generated.to(masks.device)


def solo_assign(masks: Tensor, packed_width: int | None = None) -> tuple[Tensor, Tensor]:
    """With regions of whole boxes, so that the masks decide about most cells."""
    rectangles, (labels, _) = boxes(masks), labelled(masks)
    centers = (rectangles[:, :2] + rectangles[:, 2:]) / 2
    size = masks.shape[1], packed_width or masks.shape[2]
    options = {"grids": [8], "scale_ranges": [(0, 99)], "masks": masks, "packed_width": packed_width}
    return ldie_ext.solo_assign(
        rectangles, labels, centers, labels + 1, torch.tensor([0, COUNT], device=masks.device), size, **options
    )


def tensors(result: Any) -> list[Tensor]:
    if isinstance(result, RLE):
        return [result.counts.cpu(), result.offsets.cpu(), result.sizes.cpu()]
    return [each.cpu() for each in (result if isinstance(result, tuple) else (result,))]


def run(function: str, masks: Tensor, **packed: int) -> list[Tensor]:
    torch.manual_seed(1)  # of the boxes
    return tensors(FUNCTIONS[function](masks, **packed))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_forms_agree(backend: Backend, function: str) -> None:
    masks = torch.rand(COUNT, HEIGHT, WIDTH) < 0.4
    masks[1] = masks[0]
    expected = run(function, masks.to(backend.device))
    forms = [masks.byte(), masks.byte() * 255, masks.float(), masks.half() * 0.3, masks.long()]
    for form in forms:
        assert all(map(torch.equal, run(function, form.to(backend.device)), expected)), form.dtype
    packed = run(function, pack(masks).to(backend.device), packed_width=WIDTH)
    assert all(map(torch.equal, packed, expected))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bytes_are_packed_only_where_a_width_says_so(backend: Backend, function: str) -> None:
    """At a shape that fits both: a byte is one pixel, or eight of which bit 1 is set."""
    masks = torch.tensor([[[2], [0]]], dtype=torch.uint8).expand(COUNT, 2, 1).to(backend.device)
    dense, packed = run(function, masks), run(function, masks, packed_width=8)
    assert all(map(torch.equal, dense, run(function, masks != 0)))
    if function in (
        "masks_to_boxes",
        "mask_centers",
        "mask_target_pyramid",
        "rle_encode",
    ):  # others compare masks, or look at some pixels
        assert not all(map(torch.equal, dense, packed))
    with pytest.raises(
        RuntimeError, match=r"packed to a packed_width of 9 must have shape|must have shape \[G, H, ceil"
    ):
        run(function, masks, packed_width=9)
