"""Areas of run-length masks."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.rle import RLE

__all__ = ["rle_area"]


def rle_area(rle: RLE) -> Tensor:
    """The number of pixels of each mask, ``sum of its runs of ones``, as ``pycocotools.mask.area`` counts them.

    Args:
        rle: N masks, of any sizes.

    Returns:
        int64 [N].

    Raises:
        RuntimeError: offsets do not fit the counts (on the CPU; a GPU reads what lies in them).

    Differentiable: no. Deterministic: yes.

    Source: ``area`` of the COCO API. Native code: csrc/masks/rle_area.h

    Example:
        >>> rle_area(RLE.from_coco([{"size": [2, 2], "counts": b"13"}]))
        tensor([3])
    """
    return _library.ops.rle_area(rle.counts, rle.offsets)


def _fake(counts: Tensor, offsets: Tensor) -> Tensor:
    return counts.new_empty((offsets.shape[0] - 1,), dtype=torch.int64)


register("rle_area", fake=_fake, discrete=True)
