"""Non-maximum suppression of the boxes of one class."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["nms"]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keeps the boxes that overlap no kept box of a higher score too much, as ``torchvision.ops.nms``.

    Boxes are visited by descending score. One is kept unless its IoU with a box that was kept before it is greater
    than the threshold, where ``IoU = intersection / (area_a + area_b - intersection)``. Results are the same on every
    device, index for index:

    - order: ``torch.sort(scores, descending=True, stable=True)``, so that equal scores keep the order of the input
      and NaN scores come first;
    - the comparison is strict, the IoU in the type of the boxes (float32 for 16-bit types) against the threshold in
      double. torchvision's CUDA op rounds the threshold to float32 instead, which differs at exact equality only;
    - an IoU of 0 / 0 suppresses nothing, and neither does a box with a NaN, an infinite one or an empty one unless
      the threshold is negative; with a negative threshold boxes that do not touch suppress each other.

    Args:
        boxes: float32, float64, float16 or bfloat16 [N, 4], x1 y1 x2 y2.
        scores: [N], of the dtype of the boxes.
        iou_threshold: boxes with a greater IoU are suppressed; a NaN suppresses nothing.

    Returns:
        int64 [K], the rows kept, by descending score; empty for no boxes. K depends on the data: on CUDA reading it
        waits for the device, which :func:`ldie_ext.nms_padded` does not.

    Raises:
        RuntimeError: a shape, dtype or device does not fit.

    Differentiable: no. Deterministic: yes.

    Source: greedy suppression by the rules of torchvision.ops.nms. Native code: csrc/suppression/nms.h

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
        >>> nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5)
        tensor([1, 2])
    """
    return _library.ops.nms(boxes, scores, iou_threshold)


def _fake(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


register("nms", fake=_fake, discrete=True, autocast=torch.float32)
