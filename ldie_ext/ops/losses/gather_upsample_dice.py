"""Dice loss of the masks that a few cells predict, at a finer resolution than they are predicted at."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.losses._reduction import REDUCTIONS, Reduction
from ldie_ext.ops.losses._smooth import smooth_pair

__all__ = ["gather_upsample_dice"]

SIGMOIDS = ("after", "before")


def gather_upsample_dice(
    logits: Tensor,
    targets: Tensor,
    *,
    cells: Tensor | None = None,
    rows: Tensor | None = None,
    align_corners: bool = False,
    sigmoid: Literal["after", "before"] = "after",
    smooth: float | tuple[float, float] = 1.0,
    packed_width: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Dice loss of some rows of mask logits, upsampled to their targets' size on the way: SOLO's mask loss.

    ``1 - (2 * sum(p * t) + a) / (sum(p ** 2) + sum(t ** 2) + b)`` for each cell, over the pixels of its target ``t``,
    with ``p = sigmoid(upsample(x))`` of the cell's logits x, or ``p = upsample(sigmoid(x))``. SOLO's head predicts a
    mask for each of 3,872 cells and learns from some 60 of them: only those are read, their upsampled maps are never
    stored, and besides the gradient of the logits nothing of their size is made.

    Args:
        logits: float [R, h, w], a mask in each row, of any strides; h and w at least 1.
        targets: [T, H, W] with H >= h and W >= w, the masks that rows should be: bool; uint8 [T, H, ceil(W / 8)] when
            ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost; or of a float dtype, soft masks, which are
            converted to the dtype of logits.
        cells: int64 [n], rows of logits, in any order and also more than once; without it all rows.
        rows: int64 [n], the row of targets of each cell; without it cell i has row i.
        align_corners: bilinear upsampling as :func:`torch.nn.functional.interpolate` does it with this option.
        sigmoid: 'after' upsampling the logits, or 'before': probabilities are upsampled.
        smooth: added to the numerator and to the denominator, at least 0, or a pair (a, b) for each; 1 rewards masks
            that stay empty where there is nothing, (0, 0.002) is the published SOLO's. With (0, 0) a mask of zeros on
            both sides is 0 / 0, NaN.
        packed_width: W of packed targets.
        reduction: 'none' gives [n], 'sum' and 'mean' a scalar. The mean is over the slots in use.

    Returns:
        The loss in float32 (float64 for float64 logits), which 16-bit logits are computed in, too. A slot whose cell
        or row is -1, or otherwise none of those that there are, is not in use: its loss is 0. Without slots in use
        the sum and the mean are 0. A NaN logit makes its cell's loss NaN, an infinite one may.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or targets are smaller than logits.
        ValueError: an unknown option, or a negative smooth.

    Differentiable: once, in logits: rows that no cell names have the gradient 0, those that several name the sum, added
    in their order. A gradient of targets or a second derivative raises. Under autocast 16-bit logits stay as they are.
    Deterministic: yes, and sums do not depend on the number of threads.

    Source: Wang et al., SOLO, arXiv:1912.04488, eq. 5; Milletari et al., V-Net, arXiv:1606.04797, eq. 3. Native code:
    csrc/losses/gather_upsample_dice.h

    Example:
        >>> logits = torch.tensor([[[2.0, -2.0]], [[0.0, 0.0]], [[-2.0, 2.0]]])
        >>> targets = torch.tensor([[[False, False, True, True]], [[True, True, False, False]]])
        >>> gather_upsample_dice(logits, targets, cells=torch.tensor([2, 0, 2]), rows=torch.tensor([0, 1, -1]))
        tensor(0.0394)
    """
    order, code = option_code("sigmoid", sigmoid, SIGMOIDS), option_code("reduction", reduction, REDUCTIONS)
    loss, _, _ = _library.ops.gather_upsample_dice(
        logits,
        *_pixels(targets, packed_width, logits),
        cells,
        rows,
        align_corners,
        SIGMOIDS[order] == "before",
        *smooth_pair(smooth),
        code,
    )
    return loss


def _pixels(targets: Tensor, packed_width: int | None, logits: Tensor) -> tuple[Tensor, int, bool]:
    """The targets as the native op takes them, their width, and whether they are packed."""
    if packed_width is None and targets.is_floating_point():
        return targets.to(logits.dtype), targets.shape[-1], False
    return mask_pixels(targets, packed_width)


def _fake(
    logits: Tensor,
    targets: Tensor,
    width: int,
    packed: bool,
    cells: Tensor | None,
    rows: Tensor | None,
    align_corners: bool,
    sigmoid_first: bool,
    smooth_numerator: float,
    smooth_denominator: float,
    reduction: int,
) -> tuple[Tensor, Tensor, Tensor]:
    count = next(given.shape[0] for given in (cells, rows, logits) if given is not None)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    loss = logits.new_empty((count,) if reduction == REDUCTIONS.index("none") else (), dtype=dtype)
    return loss, logits.new_empty((count, 2), dtype=torch.float64), logits.new_empty((), dtype=torch.float64)


def _fake_backward(grad: Tensor, logits: Tensor, *_: Any) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, ctx.width, ctx.packed, cells, rows, ctx.align_corners, ctx.sigmoid_first, *_, ctx.reduction = (
        inputs
    )
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(logits, targets, cells, rows, *output[1:])


def _backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise RuntimeError("ldie_ext.gather_upsample_dice is not differentiable in targets: detach them")
    logits, targets, cells, rows, fractions, scale = ctx.saved_tensors
    gradient = _library.ops.gather_upsample_dice_backward(
        grad,
        logits,
        targets,
        ctx.width,
        ctx.packed,
        cells,
        rows,
        ctx.align_corners,
        ctx.sigmoid_first,
        fractions,
        scale,
        ctx.reduction,
    )
    return gradient, *[None] * 10


register("gather_upsample_dice", fake=_fake, setup_context=_setup_context, backward=_backward)
register("gather_upsample_dice_backward", fake=_fake_backward)
