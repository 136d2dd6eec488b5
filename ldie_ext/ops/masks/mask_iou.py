"""Intersection over union of masks, pair by pair."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._register import register
from ldie_ext.ops.masks.rle import RLE

__all__ = ["mask_iou"]


def mask_iou(
    a: Tensor | RLE,
    b: Tensor | RLE,
    *,
    crowd: Tensor | None = None,
    packed_width: int | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """``IoU[i, j] = |a_i & b_j| / |a_i | b_j|`` by population counts on bits, digit for digit pycocotools'.

    Memory beyond the result is a bit a pixel. On the CPU masks are cut down to their own boxes first.

    Args:
        a: N masks of one size with less than 2^31 pixels: :class:`ldie_ext.RLE`; or [N, H, W], best bool, else what is
            not 0 belongs to the mask; or uint8 [N, H, ceil(W / 8)] when ``packed_width`` is given, 8 pixels a byte,
            bit 0 leftmost, bits beyond the width 0.
        b: M masks of the same kind and size.
        crowd: bool [M]; where true, b_j is a crowd region, and the intersection is divided by the area of a_i alone.
        packed_width: W of packed masks, both a and b.
        size: (H, W) of run lengths. Without it their ``sizes`` are read, which on a GPU waits for the device.

    Returns:
        float64 [N, M]; 0 where nothing is shared, also between two empty masks.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or (on the CPU) run lengths are negative or do not add up
            to the size.
        TypeError: one of a and b is run lengths and the other is not.
        ValueError: run lengths differ in size.

    Differentiable: no. Deterministic: yes.

    Source: ``iou`` of the COCO API, crowds included. Native code: csrc/masks/mask_iou.h

    Example:
        >>> masks = torch.tensor([[[True, True, False]], [[False, True, True]]])
        >>> mask_iou(masks, masks)
        tensor([[1.0000, 0.3333],
                [0.3333, 1.0000]], dtype=torch.float64)
    """
    if isinstance(a, RLE) and isinstance(b, RLE):
        height, width = _common_size(a, b) if size is None else size
        return _library.ops.mask_iou_rle(a.counts, a.offsets, b.counts, b.offsets, height, width, crowd)
    if isinstance(a, RLE) or isinstance(b, RLE):
        raise TypeError(f"a and b must be of one kind, got {type(a).__name__} and {type(b).__name__}")
    pixels, width, packed = mask_pixels(a, packed_width)
    return _library.ops.mask_iou(pixels, mask_pixels(b, packed_width)[0], width, packed, crowd)


def _common_size(a: RLE, b: RLE) -> tuple[int, int]:
    size, other = a.common_size(), b.common_size()
    if len(a) > 0 and len(b) > 0 and size != other:
        raise ValueError(f"a and b must hold masks of one size, got {size} and {other}")
    return size if len(a) > 0 else other


def _fake(a: Tensor, b: Tensor, width: int, packed: bool, crowd: Tensor | None) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[0]), dtype=torch.float64)


def _fake_rle(
    a_counts: Tensor,
    a_offsets: Tensor,
    b_counts: Tensor,
    b_offsets: Tensor,
    height: int,
    width: int,
    crowd: Tensor | None,
) -> Tensor:
    return a_counts.new_empty((a_offsets.shape[0] - 1, b_offsets.shape[0] - 1), dtype=torch.float64)


register("mask_iou", fake=_fake, discrete=True)
register("mask_iou_rle", fake=_fake_rle, discrete=True)
