"""Masks to the coarser levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.masks.polygons import Polygons
from ldie_ext.ops.masks.rle import RLE

__all__ = ["MaskPyramid", "mask_target_pyramid"]

MODES = ("nearest", "bilinear", "area", "fraction")
FRACTION = MODES.index("fraction")


class MaskPyramid(NamedTuple):
    """N masks at each of the strides, and where their pixels lie."""

    levels: tuple[Tensor, ...]
    """Of stride ``s`` bool [N, h, w], h = ceil(H / s) and w = ceil(W / s); uint8 [N, h, ceil(w / 8)] when packed;
    float32 [N, h, w] of fractions. Views of one tensor."""
    centers: Tensor
    """float32 [N, 2], x y as :func:`mask_centers` gives them."""
    areas: Tensor
    """int64 [N], pixels."""


def mask_target_pyramid(
    masks: Tensor | Polygons | RLE,
    strides: Sequence[int],
    *,
    mode: Literal["nearest", "bilinear", "area", "fraction"] = "area",
    size: tuple[int, int] | None = None,
    packed: bool = False,
    packed_width: int | None = None,
) -> MaskPyramid:
    """Masks at several strides, with their centres of mass and areas, from one pass over their bits.

    Cell ``(i, j)`` of stride ``s`` covers pixels ``[i s, (i + 1) s) x [j s, (j + 1) s)``, of which those beyond the
    image are 0. It is set where, by ``mode``,

    - ``nearest``: pixel ``(i s, j s)`` is, as by interpolation of that name;
    - ``bilinear``: at least half of the 2 x 2 pixels round the cell's centre are, as by interpolation without aligned
      corners and a threshold of .5 (of stride 1 the pixel itself);
    - ``area``: at least half of its ``s^2`` pixels are; where no cell of a mask with pixels has as many, the one that
      has most is set, the first of equals row by row, so that small instances do not vanish.

    With ``fraction`` a cell is the share of its pixels, ``count / s^2``.

    Polygons are drawn and run lengths decoded to bits, on the CPU to those of a mask's own box.

    Args:
        masks: N masks of one size with less than 2^31 pixels each: :class:`ldie_ext.Polygons`;
            :class:`ldie_ext.RLE`; [N, H, W], best bool, else what is not 0 belongs to the mask; or uint8
            [N, H, ceil(W / 8)] when ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost, bits beyond the width
            0.
        strides: one or more powers of two from 1 to 2^14, rising; they may be larger than the image.
        mode: what a cell says.
        size: (H, W) of polygons, which need it, or of run lengths. Without it ``sizes`` of the latter are read, which
            on a GPU waits for the device.
        packed: levels of 8 cells a byte, bit 0 leftmost; not of fractions.
        packed_width: W of packed masks.

    Returns:
        levels, centers and areas as :class:`MaskPyramid`. A mask without pixels is 0 at all levels and has area 0 and
        centre 0 0; the centre is of the pixels, the same whatever the mode.

    Raises:
        RuntimeError: a shape or dtype does not fit, strides are no rising powers of two, or (on the CPU) offsets do not
            rise or run lengths are negative or do not add up to the size.
        ValueError: an unknown mode, packed fractions, polygons without a size, a size beside pixels, or run lengths
            that differ in size.

    Differentiable: no. Deterministic: yes.

    Source: mask targets of SOLO (Wang et al., ECCV 2020), whose centres of mass come along. Native code:
    csrc/masks/mask_target_pyramid.h

    Example:
        >>> mask = torch.zeros(1, 4, 6, dtype=torch.bool)
        >>> mask[0, 1:4, 1:4] = True
        >>> pyramid = mask_target_pyramid(mask, (2, 4))
        >>> [level.int().tolist() for level in pyramid.levels]
        [[[[0, 1, 0], [1, 1, 0]]], [[[1, 0]]]]
        >>> pyramid.centers, pyramid.areas
        (tensor([[2., 2.]]), tensor([9]))
    """
    code = option_code("mode", mode, MODES)
    if packed and code == FRACTION:
        raise ValueError("packed must be False where mode is 'fraction': shares are no bits")
    if isinstance(masks, Polygons):
        if size is None:
            raise ValueError("masks that are polygons must come with their size (H, W), got none")
        tensors = masks.coords, masks.part_offsets, masks.instance_offsets
        outputs = _library.ops.mask_target_pyramid_polygons(*tensors, *size, strides, code, packed)
        return _cut(outputs, (len(masks), *size), strides, packed)
    if isinstance(masks, RLE):
        size = masks.common_size() if size is None else size
        outputs = _library.ops.mask_target_pyramid_rle(masks.counts, masks.offsets, *size, strides, code, packed)
        return _cut(outputs, (len(masks), *size), strides, packed)
    if size is not None and isinstance(masks, Tensor):
        raise ValueError(f"size must be None beside masks of pixels, which have their own, got {size}")
    pixels, width, in_bits = mask_pixels(masks, packed_width)
    outputs = _library.ops.mask_target_pyramid(pixels, width, in_bits, strides, code, packed)
    return _cut(outputs, (pixels.shape[0], pixels.shape[1], width), strides, packed)


def _shapes(shape: tuple[int, int, int], strides: Sequence[int], packed: bool) -> Iterator[tuple[int, int, int]]:
    """Of the levels of masks of this shape."""
    count, height, width = shape
    for stride in strides:
        row = -(-width // stride)
        yield count, -(-height // stride), (row + 7) // 8 if packed else row


def _cut(
    outputs: tuple[Tensor, Tensor, Tensor], shape: tuple[int, int, int], strides: Sequence[int], packed: bool
) -> MaskPyramid:
    """The levels out of the one tensor that they lie in."""
    cells, centers, areas = outputs
    levels, start = [], 0
    for level in _shapes(shape, strides, packed):
        end = start + level[0] * level[1] * level[2]
        levels.append(cells[start:end].view(level))
        start = end
    return MaskPyramid(tuple(levels), centers, areas)


def _outputs(
    like: Tensor, shape: tuple[int, int, int], strides: Sequence[int], mode: int, packed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    total = sum(count * height * row for count, height, row in _shapes(shape, strides, packed))
    dtype = torch.float32 if mode == FRACTION else torch.uint8 if packed else torch.bool
    return (
        like.new_empty((total,), dtype=dtype),
        like.new_empty((shape[0], 2), dtype=torch.float32),
        like.new_empty((shape[0],), dtype=torch.int64),
    )


def _fake(
    masks: Tensor, width: int, packed_masks: bool, strides: Sequence[int], mode: int, packed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(masks, (masks.shape[0], masks.shape[1], width), strides, mode, packed)


def _fake_rle(
    counts: Tensor, offsets: Tensor, height: int, width: int, strides: Sequence[int], mode: int, packed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(counts, (offsets.shape[0] - 1, height, width), strides, mode, packed)


def _fake_polygons(
    coords: Tensor,
    part_offsets: Tensor,
    instance_offsets: Tensor,
    height: int,
    width: int,
    strides: Sequence[int],
    mode: int,
    packed: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(coords, (instance_offsets.shape[0] - 1, height, width), strides, mode, packed)


register("mask_target_pyramid", fake=_fake, discrete=True)
register("mask_target_pyramid_rle", fake=_fake_rle, discrete=True)
register("mask_target_pyramid_polygons", fake=_fake_polygons, discrete=True)
