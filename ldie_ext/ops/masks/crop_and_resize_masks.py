"""Mask targets of regions of interest, from masks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["crop_and_resize_masks"]

CONVENTIONS = ("torchvision", "detectron2")


def crop_and_resize_masks(
    masks: Tensor,
    boxes: Tensor,
    mask_size: int,
    *,
    instances: Tensor | None = None,
    packed_width: int | None = None,
    convention: Literal["torchvision", "detectron2"] = "torchvision",
) -> Tensor:
    """Masks cropped to boxes and scaled to M x M: the mask targets of Mask R-CNN, without a float copy of the masks.

    A bin is the mean of ``ceil(height / M) * ceil(width / M)`` bilinear samples of the mask, as
    :func:`roi_align` takes them with an adaptive grid.

    Args:
        masks: [G, H, W], best bool, else what is not 0 belongs to the mask; or uint8 [G, H, ceil(W / 8)] when
            ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost.
        boxes: float [N, 4], x1 y1 x2 y2 in pixels; float64 or else computed in float32.
        mask_size: M, at least 1.
        instances: int64 [N], the mask of each box; without it, box n is of mask n.
        packed_width: W of packed masks.
        convention: 'torchvision' (``project_masks_on_boxes``: pixel centres at 0, boxes of at least one pixel, the
            means themselves) or 'detectron2' (``BitMasks.crop_and_resize``: aligned, at least a half).

    Returns:
        [N, M, M], float32 (float64 for float64 boxes) by torchvision's convention, bool by detectron2's. 0 where the
        index is of no mask or a coordinate is not finite, and for boxes without area by detectron2's convention.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or mask_size is not positive.
        ValueError: an unknown convention.

    Differentiable: no. Deterministic: yes.

    Source: Mask R-CNN, arXiv:1703.06870, section 3. Native code: csrc/masks/crop_and_resize_masks.h

    Example:
        >>> masks = torch.tensor([[[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]]).bool()
        >>> crop_and_resize_masks(masks, torch.tensor([[0.0, 0.0, 4.0, 4.0]]), 2, convention="detectron2").int()
        tensor([[[1, 0],
                 [1, 1]]], dtype=torch.int32)
    """
    aligned = option_code("convention", convention, CONVENTIONS) == 1
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    return _library.ops.crop_and_resize_masks(*mask_pixels(masks, packed_width), boxes, instances, mask_size, aligned)


def _fake(
    masks: Tensor,
    width: int,
    packed: bool,
    boxes: Tensor,
    instances: Tensor | None,
    mask_size: int,
    aligned: bool,
) -> Tensor:
    return boxes.new_empty((boxes.shape[0], mask_size, mask_size), dtype=torch.bool if aligned else boxes.dtype)


register("crop_and_resize_masks", fake=_fake, discrete=True)
