"""Masks of boxes drawn on their image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.roi.roi_align import coordinates

__all__ = ["paste_masks"]

CONVENTIONS = ("torchvision", "detectron2")


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
    convention: Literal["torchvision", "detectron2"] = "torchvision",
    packed: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Predicted masks of boxes as masks of the image: scaled to the box, cut at a threshold, all in one pass.

    With ``bilinear`` interpolation of mask ``m``, whose cells outside are 0, at cell coordinates of width ``w`` (the
    height likewise)::

        torchvision:  bilinear(m, (x - X1 + 0.5) / (X2 - X1 + 1) * (w + 2) - 1.5) > threshold   for X1 <= x <= X2
        detectron2:   bilinear(m, (x + 0.5 - x1) / (x2 - x1) * w - 0.5) >= threshold

    where X1 and X2 are those of the box made larger by ``(w + 2) / w`` about its centre, truncated to integers. The
    values in between are never in memory, and nothing waits for the device. Run lengths of the result, without masks
    of a byte a pixel: ``rle_encode(paste_masks(..., packed=True), packed_width=size[1])``.

    Args:
        masks: float [N, h, w] or [N, 1, h, w], such as probabilities of 28 x 28.
        boxes: float [N, 4], x1 y1 x2 y2 in pixels, computed in float32 (float64 for float64 masks).
        size: (H, W) of the image.
        threshold: above 0.
        convention: 'torchvision' (``paste_masks_in_image(...) > threshold``) or 'detectron2'
            (``paste_masks_in_image`` by ``grid_sample``).
        packed: 8 pixels a byte, bit 0 leftmost.
        out: written and returned instead of a new tensor; on the CPU, big masks cost several times less when their
            memory is used again.

    Returns:
        bool [N, H, W], or uint8 [N, H, ceil(W / 8)] when packed. Boxes without area are one pixel or a line by
        torchvision's convention and empty by detectron2's; a box whose ends are swapped is empty by torchvision's and
        shows its mask mirrored by detectron2's; boxes outside of the image or with NaN or infinite coordinates are
        empty.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, threshold is not above 0, or out is not contiguous.
        ValueError: an unknown convention.

    Differentiable: no. Deterministic: yes.

    Source: Mask R-CNN, arXiv:1703.06870, section 3.1. Native code: csrc/masks/paste_masks.h

    Example:
        >>> masks, boxes = torch.tensor([[[0.9, 0.1], [0.9, 0.9]]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> paste_masks(masks, boxes, (4, 5)).int()
        tensor([[[0, 1, 0, 0, 0],
                 [1, 1, 1, 0, 0],
                 [1, 1, 1, 1, 0],
                 [1, 1, 1, 1, 1]]], dtype=torch.int32)
    """
    if masks.dim() == 4:
        masks = masks.squeeze(1)
    arguments = masks, coordinates(boxes, masks), *size, threshold, option_code("convention", convention, CONVENTIONS)
    if out is None:
        return _library.ops.paste_masks(*arguments, packed)
    _library.ops.paste_masks_out(*arguments, packed, out)
    return out


def _fake(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, rule: int, packed: bool) -> Tensor:
    shape = (masks.shape[0], height, (width + 7) // 8 if packed else width)
    return masks.new_empty(shape, dtype=torch.uint8 if packed else torch.bool)


def _fake_out(*_: object) -> None:
    return None


register("paste_masks", fake=_fake, discrete=True)
register("paste_masks_out", fake=_fake_out, discrete=True)
