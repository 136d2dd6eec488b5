"""What every function that takes masks makes of them first."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_pixels(masks: Tensor, packed_width: int | None) -> tuple[Tensor, int, bool]:
    """The masks as native ops take them, their width, and whether they are packed.

    Args:
        masks: [N, H, W] of any dtype, where what is not 0 belongs to the mask, as in torchvision; or packed uint8
            [N, H, ceil(W / 8)].
        packed_width: W of packed masks, which nothing else tells apart from masks of zeros and ones.
    """
    if packed_width is not None:
        return masks, packed_width, True
    return masks if masks.dtype == torch.bool else masks != 0, masks.shape[-1], False
