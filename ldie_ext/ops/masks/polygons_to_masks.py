"""Polygons of many instances to masks, as COCO draws them."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.polygons import Polygons

__all__ = ["polygons_to_masks"]


def polygons_to_masks(
    polygons: Polygons, size: tuple[int, int], *, packed: bool = False, out: Tensor | None = None
) -> Tensor:
    """Masks of polygons, bit for bit those of ``pycocotools.mask``, all instances in one call.

    Vertices are rounded to a grid five times as fine as the pixels; a pixel is inside a part when the number of the
    part's edges above the middle of its column, up to its row, is odd. The parts of an instance unite.

    Args:
        polygons: N instances.
        size: (H, W) of the masks.
        packed: 8 pixels a byte, bit 0 leftmost.
        out: written and returned instead of a new tensor; on the CPU, big masks cost several times less when their
            memory is used again.

    Returns:
        bool [N, H, W], or uint8 [N, H, ceil(W / 8)] when packed. Instances without parts and parts of less than three
        points are empty; what lies outside of the image is cut off; coordinates beyond 2^28 / 5 stop there and a NaN
        is 0.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, out is not contiguous, or (on the CPU) offsets do not
            rise from 0 to their count.

    Differentiable: no. Deterministic: yes.

    Source: ``rleFrPoly`` of the COCO API in closed form, edge by edge. Native code: csrc/masks/polygons_to_masks.h

    Example:
        >>> polygons = Polygons.from_coco([[[0, 0, 3, 0, 3, 2, 0, 2]]])
        >>> polygons_to_masks(polygons, (3, 4)).int()
        tensor([[[1, 1, 1, 0],
                 [1, 1, 1, 0],
                 [0, 0, 0, 0]]], dtype=torch.int32)
    """
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    if out is None:
        return _library.ops.polygons_to_masks(*tensors, *size, packed)
    _library.ops.polygons_to_masks_out(*tensors, *size, packed, out)
    return out


def _fake(
    coords: Tensor, part_offsets: Tensor, instance_offsets: Tensor, height: int, width: int, packed: bool
) -> Tensor:
    shape = (instance_offsets.shape[0] - 1, height, (width + 7) // 8 if packed else width)
    return coords.new_empty(shape, dtype=torch.uint8 if packed else torch.bool)


def _fake_out(*_: object) -> None:
    return None


register("polygons_to_masks", fake=_fake, discrete=True)
register("polygons_to_masks_out", fake=_fake_out, discrete=True)
