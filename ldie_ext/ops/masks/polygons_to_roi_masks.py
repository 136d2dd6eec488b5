"""Mask targets of regions of interest, straight from polygons."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.polygons import Polygons

__all__ = ["polygons_to_roi_masks"]


def polygons_to_roi_masks(
    polygons: Polygons, boxes: Tensor, mask_size: int, *, instances: Tensor | None = None
) -> Tensor:
    """Polygons cropped to boxes and drawn on M x M pixels: the mask targets of Mask R-CNN, on the device.

    A point (x, y) is drawn at ``((x - x1) * M / max(x2 - x1, 0.1), (y - y1) * M / max(y2 - y1, 0.1))``, with the
    rounding of :func:`polygons_to_masks`. What detectron2's ``rasterize_polygons_within_box`` does on the CPU, one
    instance at a time, pixel for pixel.

    Args:
        polygons: the ground truth, of one or many images.
        boxes: float [N, 4], x1 y1 x2 y2 in the coordinates of the polygons.
        mask_size: M, at least 1.
        instances: int64 [N], the instance of each box (such as what ``match_boxes`` gives); without it, box n is of
            instance n.

    Returns:
        bool [N, M, M]. Empty where the index is of no instance (such as -1) or the instance has no parts.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or (on the CPU) offsets do not rise from 0 to their count.

    Differentiable: no. Deterministic: yes.

    Source: Mask R-CNN, arXiv:1703.06870, section 3; detectron2's convention, in which the ratio has the boxes' dtype.
    Native code: csrc/masks/polygons_to_roi_masks.h

    Example:
        >>> polygons = Polygons.from_coco([[[0, 0, 8, 0, 8, 8, 0, 8]]])
        >>> boxes = torch.tensor([[4.0, 0.0, 12.0, 8.0], [0.0, 0.0, 8.0, 8.0]])
        >>> polygons_to_roi_masks(polygons, boxes, 4, instances=torch.tensor([0, 0]))[0].int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0],
                [1, 1, 0, 0],
                [1, 1, 0, 0]], dtype=torch.int32)
    """
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    return _library.ops.polygons_to_roi_masks(*tensors, boxes, instances, mask_size)


def _fake(
    coords: Tensor,
    part_offsets: Tensor,
    instance_offsets: Tensor,
    boxes: Tensor,
    instances: Tensor | None,
    mask_size: int,
) -> Tensor:
    return boxes.new_empty((boxes.shape[0], mask_size, mask_size), dtype=torch.bool)


register("polygons_to_roi_masks", fake=_fake, discrete=True)
