"""Dice loss of masks, on logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.losses._reduction import REDUCTIONS, Reduction
from ldie_ext.ops.losses._smooth import smooth_pair

__all__ = ["dice_loss"]


def dice_loss(
    inputs: Tensor, targets: Tensor, *, smooth: float | tuple[float, float] = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Dice loss of V-Net and SOLO, one value for each row of logits.

    ``1 - (2 * sum(p * t) + a) / (sum(p ** 2) + sum(t ** 2) + b)`` with ``p = sigmoid(inputs)``, over all dimensions but
    the first. One pass over memory forward and one backward; no tensor of the inputs' size is made but the gradient.

    Args:
        inputs: float [N, ...], logits of any size; a row is a mask.
        targets: [N, ...], the same shape; usually 0 or 1. Other dtypes than that of inputs are converted.
        smooth: a and b, at least 0: one number for both, or a pair (a, b). b keeps rows without target defined, a
            rewards leaving them empty; the published SOLO's is (0, 0.002). With b = 0 a row of zeros on both sides is
            divided by 0: NaN for a = 0.
        reduction: 'none' gives [N], 'mean' and 'sum' a scalar.

    Returns:
        The loss in the dtype of inputs, summed in float64 from float32 terms (float64 for float64). Without rows the
        sum and the mean are 0. NaN inputs make their row NaN.

    Raises:
        RuntimeError: inputs are not floating or have no dimension, or shapes or devices differ.
        ValueError: an unknown reduction, or a smooth that is negative or no pair.

    Differentiable: once, in inputs; a gradient of targets or a second derivative raises. Under autocast computed in
    float32. Deterministic: yes, and sums do not depend on the number of threads.

    Source: Milletari et al., V-Net, arXiv:1606.04797, eq. 3; Wang et al., SOLO, arXiv:1912.04488, eq. 5. Native code:
    csrc/losses/dice_loss.h

    Example:
        >>> logits, masks = torch.tensor([[0.0, 4.0], [-4.0, -4.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
        >>> dice_loss(logits, masks, reduction="none")
        tensor([0.0779, 0.0006])
    """
    code = option_code("reduction", reduction, REDUCTIONS)
    loss, _ = _library.ops.dice_loss(inputs, targets.to(inputs.dtype), *smooth_pair(smooth), code)
    return loss


def _fake(
    inputs: Tensor, targets: Tensor, smooth_numerator: float, smooth_denominator: float, reduction: int
) -> tuple[Tensor, Tensor]:
    rows = inputs.shape[0]
    loss = inputs.new_empty((rows,) if reduction == REDUCTIONS.index("none") else ())
    return loss, inputs.new_empty((rows, 2), dtype=torch.float64)


def _fake_backward(grad: Tensor, inputs: Tensor, targets: Tensor, fractions: Tensor, reduction: int) -> Tensor:
    return inputs.new_empty(inputs.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, targets, *_, ctx.reduction = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(logits, targets, output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise RuntimeError("ldie_ext.dice_loss is not differentiable in targets: detach them")
    return _library.ops.dice_loss_backward(grad, *ctx.saved_tensors, ctx.reduction), *[None] * 4


register("dice_loss", fake=_fake, setup_context=_setup_context, backward=_backward, autocast=torch.float32)
register("dice_loss_backward", fake=_fake_backward)
