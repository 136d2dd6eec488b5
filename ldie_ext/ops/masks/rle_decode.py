"""COCO's run lengths to masks, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.rle import RLE

__all__ = ["rle_decode"]


def rle_decode(
    rle: RLE, *, packed: bool = False, size: tuple[int, int] | None = None, out: Tensor | None = None
) -> Tensor:
    """Masks of run lengths that share one size, as ``pycocotools.mask.decode`` gives them.

    Args:
        rle: N masks.
        packed: 8 pixels a byte, bit 0 leftmost.
        size: (H, W) of the masks. Without it ``rle.sizes`` is read, which on a GPU waits for the device.
        out: written and returned instead of a new tensor; on the CPU, big masks cost several times less when their
            memory is used again.

    Returns:
        bool [N, H, W], or uint8 [N, H, ceil(W / 8)] when packed. No masks without a size give [0, 0, 0].

    Raises:
        ValueError: the masks differ in size and no size is given.
        RuntimeError: a shape, dtype or device does not fit, out is not contiguous, or (on the CPU; a GPU draws what
            lies in the mask) runs are negative or do not add up to the size.

    Differentiable: no. Deterministic: yes.

    Source: run-length masks of the COCO API. Native code: csrc/masks/rle_decode.h

    Example:
        >>> rle_decode(RLE.from_coco([{"size": [2, 2], "counts": b"13"}])).int()
        tensor([[[0, 1],
                 [1, 1]]], dtype=torch.int32)
    """
    height, width = rle.common_size() if size is None else size
    if out is None:
        return _library.ops.rle_decode(rle.counts, rle.offsets, height, width, packed)
    _library.ops.rle_decode_out(rle.counts, rle.offsets, height, width, packed, out)
    return out


def _fake(counts: Tensor, offsets: Tensor, height: int, width: int, packed: bool) -> Tensor:
    shape = (offsets.shape[0] - 1, height, (width + 7) // 8 if packed else width)
    return counts.new_empty(shape, dtype=torch.uint8 if packed else torch.bool)


def _fake_out(*_: object) -> None:
    return None


register("rle_decode", fake=_fake, discrete=True)
register("rle_decode_out", fake=_fake_out, discrete=True)
