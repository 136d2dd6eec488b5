"""Focal loss of a centre-point detector against a heatmap in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["center_focal_loss"]


def check_exponents(alpha: float, beta: float) -> None:
    """Raises a ValueError unless both exponents are at least 0."""
    if not (alpha >= 0 and beta >= 0):
        raise ValueError(f"alpha and beta must be at least 0, got {alpha} and {beta}")


def center_focal_loss(logits: Tensor, heatmap: Tensor, *, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Penalty-reduced focal loss of CornerNet and CenterNet, on logits, over the number of peaks.

    The sum of ``-(1 - p) ** alpha * log(p)`` over the peaks, cells with ``heatmap == 1``, and of
    ``-(1 - heatmap) ** beta * p ** alpha * log(1 - p)`` over all others, divided by the number of peaks; without a
    peak the sum is not divided. ``p = sigmoid(logits)``. One pass over memory forward and one backward; no tensor of
    the inputs' size is made but the gradient.

    The published code clamps p to [1e-4, 1 - 1e-4], because it takes the logarithm of a rounded sigmoid; here the
    logarithms are exact for logits of any size and nothing is clamped. Values agree for abs(logits) < 9.2, and a badly
    missed peak keeps its gradient.

    Args:
        logits: float [...], usually [B, C, H, W]; of any size.
        heatmap: [...], the same shape, in [0, 1]; of the dtype of logits, or float32 beside 16-bit logits (16 bits
            round values close to a wide Gaussian's peak up to 1, which makes them peaks).
        alpha: how much easy cells are played down, at least 0.
        beta: how much cells near a peak are spared, at least 0. alpha = 2 with beta = 4 is the fast case.

    Returns:
        A scalar in the dtype of logits; 16-bit logits are computed and summed in float32. 0 for empty inputs; NaN if
        an input is NaN.

    Raises:
        RuntimeError: logits are not floating, or shapes, dtypes or devices do not fit.
        ValueError: a negative alpha or beta.

    Differentiable: once, in logits; a gradient of heatmap or a second derivative raises. Under autocast computed in
    float32. Deterministic: yes, and the sum does not depend on the number of threads.

    Source: CornerNet, arXiv:1808.01244, eq. 1; CenterNet, arXiv:1904.07850, eq. 1. Native code:
    csrc/losses/center_focal_loss.h

    Example:
        >>> logits, heatmap = torch.tensor([-2.0, 0.0, 1.0]), torch.tensor([0.0, 0.5, 1.0])
        >>> center_focal_loss(logits, heatmap)
        tensor(0.0353)
    """
    check_exponents(alpha, beta)
    loss, _ = _library.ops.center_focal_loss(logits, heatmap, float(alpha), float(beta))
    return loss


def _fake(logits: Tensor, heatmap: Tensor, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), logits.new_empty((), dtype=torch.int64)


def _fake_backward(
    grad: Tensor, logits: Tensor, heatmap: Tensor, num_peaks: Tensor, alpha: float, beta: float
) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, heatmap, *ctx.exponents = inputs
    ctx.save_for_backward(logits, heatmap, output[1])


def _backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise RuntimeError("ldie_ext.center_focal_loss is not differentiable in heatmap: detach it")
    return _library.ops.center_focal_loss_backward(grad, *ctx.saved_tensors, *ctx.exponents), None, None, None


register("center_focal_loss", fake=_fake, setup_context=_setup_context, backward=_backward, autocast=torch.float32)
register("center_focal_loss_backward", fake=_fake_backward)
