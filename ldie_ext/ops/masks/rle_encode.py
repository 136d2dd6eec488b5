"""Masks to COCO's run lengths, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._register import register
from ldie_ext.ops.masks.rle import RLE
from ldie_ext.ops.ragged.integers import integers

__all__ = ["rle_encode"]


def rle_encode(masks: Tensor, *, packed_width: int | None = None, max_runs: int | None = None) -> RLE:
    """Run lengths of masks, read column by column, zeros first: COCO's encoding, without a copy to the host.

    ``rle_encode(masks).to_coco()`` is byte for byte what ``pycocotools.mask.encode`` gives.

    Args:
        masks: [N, H, W], best bool, else what is not 0 belongs to the mask; or uint8 [N, H, ceil(W / 8)] when
            ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost. A mask has less than 2^31 pixels.
        packed_width: W of packed masks.
        max_runs: room for this many runs in all, so that no shape depends on the data and nothing waits for the
            device. Runs that do not fit are left out: the result is whole when ``offsets[-1] <= max_runs``, and
            unused counts are 0.

    Returns:
        The run lengths, on the device of the masks. A mask without pixels has one run of 0.

    Raises:
        RuntimeError: a shape or dtype does not fit, or a mask has too many pixels.

    Differentiable: no. Deterministic: yes.

    Source: run-length masks of the COCO API. Native code: csrc/masks/rle_encode.h

    Example:
        >>> rle = rle_encode(torch.tensor([[[False, True], [True, True]]]))
        >>> rle.counts.tolist(), rle.to_coco()
        ([1, 3], [{'size': [2, 2], 'counts': b'13'}])
    """
    pixels, width, packed = mask_pixels(masks, packed_width)
    counts, offsets = _library.ops.rle_encode(pixels, width, packed, max_runs)
    return RLE(counts, offsets, integers([masks.shape[1], width], masks).expand(masks.shape[0], 2))


def _fake(masks: Tensor, width: int, packed: bool, max_runs: int | None) -> tuple[Tensor, Tensor]:
    runs = torch.library.get_ctx().new_dynamic_size() if max_runs is None else max_runs
    offsets = masks.new_empty((masks.shape[0] + 1,), dtype=torch.int64)
    return masks.new_empty((runs,), dtype=torch.int32), offsets


register("rle_encode", fake=_fake, discrete=True)
