"""The boxes of masks."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["masks_to_boxes"]

CONVENTIONS = ("torchvision", "detectron2")


def masks_to_boxes(masks: Tensor, *, packed_width: int | None = None, convention: str = "torchvision") -> Tensor:
    """The smallest box around the pixels of each mask, all masks in one pass.

    Args:
        masks: N masks with less than 2^31 pixels each: [N, H, W], best bool, else what is not 0 belongs to the mask;
            or uint8 [N, H, ceil(W / 8)] when ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost, bits beyond
            the width 0.
        packed_width: W of packed masks.
        convention: 'torchvision': x2 and y2 are the indices of the last pixel; 'detectron2': one more, so that
            ``x2 - x1`` is the width.

    Returns:
        float32 [N, 4], x1 y1 x2 y2; zeros for a mask without pixels (torchvision raises there).

    Raises:
        RuntimeError: a shape or dtype does not fit.
        ValueError: there is no such convention.

    Differentiable: no. Deterministic: yes.

    Source: torchvision.ops.masks_to_boxes; detectron2's BitMasks.get_bounding_boxes. Native code:
    csrc/masks/masks_to_boxes.h

    Example:
        >>> masks_to_boxes(torch.tensor([[[False, True, True], [False, False, True]]]))
        tensor([[1., 0., 2., 1.]])
    """
    beyond = option_code("convention", convention, CONVENTIONS) == 1
    return _library.ops.masks_to_boxes(*mask_pixels(masks, packed_width), beyond)


def _fake(masks: Tensor, width: int, packed: bool, beyond: bool) -> Tensor:
    return masks.new_empty((masks.shape[0], 4), dtype=torch.float32)


register("masks_to_boxes", fake=_fake, discrete=True)
