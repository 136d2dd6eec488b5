"""Non-maximum suppression within each class, image or level."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["batched_nms"]

INTEGERS = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64}


def integer_groups(idxs: Tensor) -> Tensor:
    """Group ids as int64; TypeError when they are no integers."""
    if idxs.dtype is torch.int64:
        return idxs
    if idxs.dtype not in INTEGERS:
        raise TypeError(f"idxs must be integers, got {idxs.dtype}")
    return idxs.to(torch.int64)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`ldie_ext.nms` within each group of boxes that share a value of ``idxs``, as torchvision's.

    Groups are searched one by one: boxes are not moved apart by offsets, which would round their coordinates, and
    boxes of different groups are never compared. So the result is exactly that of ``nms`` on each group, put together
    by descending score; equal scores keep the order of the input. (torchvision sorts unstably from 1,000 boxes on: it
    keeps the same boxes, but may order equal scores otherwise.)

    Args:
        boxes: float32, float64, float16 or bfloat16 [N, 4], x1 y1 x2 y2.
        scores: [N], of the dtype of the boxes.
        idxs: integers [N], any values: the class, image or level of each box.
        iou_threshold: boxes of a group with a greater IoU are suppressed.

    Returns:
        int64 [K], the rows kept, by descending score. K depends on the data: on CUDA reading it waits for the device,
        which :func:`ldie_ext.nms_padded` does not.

    Raises:
        RuntimeError: a shape, dtype or device does not fit.
        TypeError: idxs are no integers.

    Differentiable: no. Deterministic: yes.

    Source: torchvision.ops.batched_nms, per group exactly. Native code: csrc/suppression/nms.h

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [1.0, 0.0, 11.0, 10.0]])
        >>> batched_nms(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
        tensor([1, 2])
    """
    return _library.ops.batched_nms(boxes, scores, integer_groups(idxs), iou_threshold)


def _fake(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


register("batched_nms", fake=_fake, discrete=True, autocast=torch.float32)
