"""Centres of mass of masks."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._register import register

__all__ = ["mask_centers"]


def mask_centers(masks: Tensor, *, packed_width: int | None = None) -> tuple[Tensor, Tensor]:
    """The mean position ``(sum x / area, sum y / area)`` of each mask's pixels, and their number.

    Positions are the pixels' indices, as SOLO's targets take them: the centre of a mask of one pixel is its index.
    Sums are exact integers, the quotient is taken in float64.

    Args:
        masks: N masks with less than 2^31 pixels each: [N, H, W], best bool, else what is not 0 belongs to the mask;
            or uint8 [N, H, ceil(W / 8)] when ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost, bits beyond
            the width 0.
        packed_width: W of packed masks.

    Returns:
        float32 [N, 2], x y, which is 0 0 for a mask without pixels, and int64 [N], the areas.

    Raises:
        RuntimeError: a shape or dtype does not fit.

    Differentiable: no. Deterministic: yes.

    Source: centre of mass as in SOLO (Wang et al., ECCV 2020). Native code: csrc/masks/mask_centers.h

    Example:
        >>> mask_centers(torch.tensor([[[False, True, True], [False, False, False]]]))
        (tensor([[1.5000, 0.0000]]), tensor([2]))
    """
    return _library.ops.mask_centers(*mask_pixels(masks, packed_width))


def _fake(masks: Tensor, width: int, packed: bool) -> tuple[Tensor, Tensor]:
    count = masks.shape[0]
    return masks.new_empty((count, 2), dtype=torch.float32), masks.new_empty((count,), dtype=torch.int64)


register("mask_centers", fake=_fake, discrete=True)
