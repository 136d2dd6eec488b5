"""Suppression that lowers scores instead of dropping boxes at once."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.suppression.batched_nms import integer_groups

__all__ = ["soft_nms"]

Method = Literal["linear", "gaussian", "naive"]
METHODS: tuple[str, ...] = get_args(Method)  # in the order of the native codes


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None = None,
    *,
    method: Method = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS: boxes lose score by their overlap with better ones, within each group, by the rules of mmcv.

    In each group the box of the highest score is selected, the scores of those left are multiplied with a factor of
    their IoU with it, those now below ``min_score`` are dropped, and so on until none is left. The factor is

    - 'linear': ``1 - iou`` where ``iou >= iou_threshold``, else 1;
    - 'gaussian': ``exp(-iou ** 2 / sigma)``;
    - 'naive': 0 where ``iou >= iou_threshold``, else 1.

    Equal scores are selected in the order of the input. Groups are exact: boxes are not moved apart by offsets.

    Args:
        boxes: float32, float64, float16 or bfloat16 [N, 4], x1 y1 x2 y2.
        scores: [N], of the dtype of the boxes.
        idxs: integers [N], any values: the class or image of each box. Without it all are of one group.
        method: 'linear', 'gaussian' or 'naive'.
        iou_threshold: where 'linear' and 'naive' begin.
        sigma: width of 'gaussian', above 0.
        min_score: least score to stay after a box was selected. The best box of a group is kept whatever its score.

    Returns:
        scores: [K], as lowered when their box was selected, descending; equal ones in the order of the input.
        indices: int64 [K], their rows. Boxes with a NaN or -inf score are never selected; an IoU of 0 / 0 lowers
        nothing. K depends on the data: on CUDA reading it waits for the device.

    Raises:
        RuntimeError: a shape, dtype or device does not fit; sigma is not above 0.
        TypeError: idxs are no integers.
        ValueError: an unknown method.

    Differentiable: no. Deterministic: yes.

    Source: Bodla et al., Soft-NMS, arXiv:1704.04503; mmcv.ops.soft_nms with offset 0. Native code:
    csrc/suppression/soft_nms.h

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [20.0, 0.0, 30.0, 10.0]])
        >>> soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]))
        (tensor([0.9000, 0.7000, 0.4000]), tensor([0, 2, 1]))
    """
    return _library.ops.soft_nms(
        boxes,
        scores,
        None if idxs is None else integer_groups(idxs),
        option_code("method", method, METHODS),
        iou_threshold,
        sigma,
        min_score,
    )


def _fake(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None,
    method: int,
    iou_threshold: float,
    sigma: float,
    min_score: float,
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return scores.new_empty(size), scores.new_empty(size, dtype=torch.int64)


register("soft_nms", fake=_fake, autocast=torch.float32)
