"""Focal loss on logits, with torchvision's signature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.losses._reduction import REDUCTIONS, Reduction

__all__ = ["sigmoid_focal_loss"]


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: Reduction = "none"
) -> Tensor:
    """Focal loss of RetinaNet for binary classification, on logits; a faster ``torchvision.ops.sigmoid_focal_loss``.

    ``w * ce * (1 - p_t) ** gamma`` for each element, with ``p = sigmoid(inputs)``, ``p_t = p * t + (1 - p) * (1 - t)``,
    ``ce = -(t * log(p) + (1 - t) * log(1 - p))`` and ``w = alpha * t + (1 - alpha) * (1 - t)``. One pass over memory
    forward and one backward; nothing of the inputs' size is kept for the backward but the inputs.

    Args:
        inputs: float [...], logits of any size; huge ones neither overflow nor lose precision.
        targets: [...], the same shape; usually 0 or 1, any real number between is a soft target. Other dtypes than
            that of inputs are converted.
        alpha: weight of the positive class, in [0, 1]; negative: no weights.
        gamma: how much easy elements are played down, at least 0 (0 is weighted cross entropy). 2 is the fast case.
        reduction: 'none' gives [...], 'mean' and 'sum' a scalar.

    Returns:
        The loss in the dtype of inputs; 16-bit inputs are computed and summed in float32. Without elements the sum is
        0 and the mean NaN. NaN inputs give NaN.

    Raises:
        RuntimeError: inputs are not floating, or shapes or devices differ.
        ValueError: an unknown reduction, or a negative gamma.

    Differentiable: once, in inputs; a gradient of targets or a second derivative raises. Under autocast computed in
    float32. Deterministic: yes, and sums do not depend on the number of threads.

    Source: Lin et al., Focal Loss for Dense Object Detection, arXiv:1708.02002. Native code:
    csrc/losses/sigmoid_focal_loss.h

    Example:
        >>> logits, targets = torch.tensor([0.0, 3.0]), torch.tensor([1.0, 0.0])
        >>> sigmoid_focal_loss(logits, targets)
        tensor([0.0433, 2.0747])
    """
    if gamma < 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")
    code = option_code("reduction", reduction, REDUCTIONS)
    return _library.ops.sigmoid_focal_loss(inputs, targets.to(inputs.dtype), float(alpha), float(gamma), code)


def _fake(inputs: Tensor, targets: Tensor, alpha: float, gamma: float, reduction: int) -> Tensor:
    return inputs.new_empty(inputs.shape if reduction == REDUCTIONS.index("none") else ())


def _fake_backward(grad: Tensor, inputs: Tensor, targets: Tensor, alpha: float, gamma: float, reduction: int) -> Tensor:
    return inputs.new_empty(inputs.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    logits, targets, *ctx.options = inputs
    ctx.save_for_backward(logits, targets)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise RuntimeError("ldie_ext.sigmoid_focal_loss is not differentiable in targets: detach them")
    logits, targets = ctx.saved_tensors
    return _library.ops.sigmoid_focal_loss_backward(grad, logits, targets, *ctx.options), None, None, None, None


register("sigmoid_focal_loss", fake=_fake, setup_context=_setup_context, backward=_backward, autocast=torch.float32)
register("sigmoid_focal_loss_backward", fake=_fake_backward)
