"""Non-maximum suppression with an output of fixed size."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.suppression.batched_nms import integer_groups

__all__ = ["nms_padded"]


def nms_padded(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    """The best ``max_output`` boxes of :func:`ldie_ext.batched_nms`, in tensors whose shapes do not depend on data.

    Nothing waits for the device, and the op can be exported and captured in CUDA graphs.

    Args:
        boxes: float32, float64, float16 or bfloat16 [N, 4], x1 y1 x2 y2.
        scores: [N], of the dtype of the boxes.
        idxs: integers [N], any values; boxes with different values do not suppress each other.
        iou_threshold: boxes of a group with a greater IoU are suppressed.
        max_output: how many boxes to return at most, 0 or more; it may exceed N.

    Returns:
        int64 [max_output], the rows kept, by descending score, then -1; and how many there are, int64 [].

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or max_output is negative.
        TypeError: idxs are no integers.

    Differentiable: no. Deterministic: yes.

    Source: as :func:`ldie_ext.batched_nms`. Native code: csrc/suppression/nms.h

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
        >>> nms_padded(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.zeros(3, dtype=torch.int64), 0.5, 4)
        (tensor([ 1,  2, -1, -1]), tensor(2))
    """
    return _library.ops.nms_padded(boxes, scores, integer_groups(idxs), iou_threshold, max_output)


def _fake(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, max_output: int) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(max_output, dtype=torch.int64), boxes.new_empty((), dtype=torch.int64)


register("nms_padded", fake=_fake, discrete=True, autocast=torch.float32)
