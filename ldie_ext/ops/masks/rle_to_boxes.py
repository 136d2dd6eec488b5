"""The boxes of run-length masks."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.rle import RLE

__all__ = ["rle_to_boxes"]


def rle_to_boxes(rle: RLE) -> Tensor:
    """The smallest box around the pixels of each mask, ``x1 y1 x2 y2`` with ``x2 - x1`` the width.

    The boxes of ``pycocotools.mask.toBbox``, which are x y width height, in the library's form.

    Args:
        rle: N masks, of any sizes.

    Returns:
        float32 [N, 4]; zeros for a mask without pixels.

    Raises:
        RuntimeError: offsets do not fit the counts, or runs are negative or do not add up to their size (on the CPU; a
            GPU reads what lies in them).

    Differentiable: no. Deterministic: yes.

    Source: ``toBbox`` of the COCO API. Native code: csrc/masks/rle_to_boxes.h

    Example:
        >>> rle_to_boxes(RLE.from_coco([{"size": [2, 3], "counts": [2, 1, 3]}]))
        tensor([[1., 0., 2., 1.]])
    """
    return _library.ops.rle_to_boxes(rle.counts, rle.offsets, rle.sizes)


def _fake(counts: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
    return counts.new_empty((sizes.shape[0], 4), dtype=torch.float32)


register("rle_to_boxes", fake=_fake, discrete=True)
