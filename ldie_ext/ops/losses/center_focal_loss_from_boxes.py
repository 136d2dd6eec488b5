"""Focal loss of a centre-point detector against boxes, without a heatmap in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.heatmap.center_heatmap import RADIUS_RULES, RadiusRule
from ldie_ext.ops.losses.center_focal_loss import check_exponents

__all__ = ["center_focal_loss_from_boxes"]


def center_focal_loss_from_boxes(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
    min_overlap: float = 0.7,
    radius: RadiusRule = "cornernet",
) -> Tensor:
    """:func:`center_focal_loss` against the :func:`center_heatmap` of these boxes, which is never stored.

    The Gaussians of the boxes are drawn where the loss needs them, so half of the memory traffic goes, and the
    [B, C, H, W] heatmap with it. In formula: the sum of ``-(1 - p) ** alpha * log(p)`` over cells with ``y == 1`` and
    of ``-(1 - y) ** beta * p ** alpha * log(1 - p)`` over all others, over the number of cells with ``y == 1`` (not
    divided when there is none), where ``p = sigmoid(logits)``, not clamped, and y is the heatmap in float32 (float64
    beside float64 logits).

    Args:
        logits: float [B, C, H, W], of any size.
        boxes: float [N, 4], x1 y1 x2 y2 in cells of the map (image pixels divided by the stride); a dtype of its own.
        labels: int64 [N], classes counted from 0; boxes with a label outside [0, C) are left out.
        offsets: int64 [B + 1]; image ``b`` owns boxes ``offsets[b]`` to ``offsets[b + 1]``.
        alpha: how much easy cells are played down, at least 0.
        beta: how much cells near a peak are spared, at least 0. alpha = 2 with beta = 4 is the fast case.
        min_overlap: as in :func:`center_heatmap`.
        radius: likewise, 'cornernet' or 'exact'.

    Returns:
        A scalar in the dtype of logits; 16-bit logits are computed and summed in float32. Boxes without a positive
        finite width and height, with a NaN, or with their centre outside the map leave no target. 0 for empty logits.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, min_overlap is out of range, or (on the CPU) offsets do
            not rise from 0 to N.
        ValueError: an unknown radius rule, or a negative alpha or beta.

    Differentiable: once, in logits; boxes get no gradient, a second derivative raises. Under autocast computed in
    float32. Deterministic: yes, and the sum does not depend on the number of threads.

    Source: CornerNet, arXiv:1808.01244, eq. 1; CenterNet, arXiv:1904.07850, eq. 1. Native code:
    csrc/losses/center_focal_loss_from_boxes.h

    Example:
        >>> boxes, labels = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1])
        >>> center_focal_loss_from_boxes(torch.zeros(1, 2, 4, 4), boxes, labels, torch.tensor([0, 1]))
        tensor(5.1901)
    """
    check_exponents(alpha, beta)
    loss, _ = _library.ops.center_focal_loss_from_boxes(
        logits,
        boxes,
        labels,
        offsets,
        float(alpha),
        float(beta),
        float(min_overlap),
        option_code("radius", radius, RADIUS_RULES),
    )
    return loss


def _fake(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    alpha: float,
    beta: float,
    min_overlap: float,
    radius: int,
) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), logits.new_empty((), dtype=torch.int64)


def _fake_backward(grad: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, boxes, labels, offsets, *ctx.options = inputs
    ctx.save_for_backward(logits, boxes, labels, offsets, output[1])


def _backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise RuntimeError("ldie_ext.center_focal_loss_from_boxes is not differentiable in boxes: detach them")
    gradient = _library.ops.center_focal_loss_from_boxes_backward(grad, *ctx.saved_tensors, *ctx.options)
    return gradient, *[None] * 7


register(
    "center_focal_loss_from_boxes",
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
    autocast=torch.float32,
)
register("center_focal_loss_from_boxes_backward", fake=_fake_backward)
