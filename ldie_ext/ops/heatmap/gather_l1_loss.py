"""L1 loss of maps at one cell per object."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["gather_l1_loss"]


def gather_l1_loss(maps: Tensor, index: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    r"""Mean absolute error of maps at the cells of a batch's objects.

    .. math::
        \frac{\sum_{b,m,c} valid_{bm} \, |maps_{b,c,index_{bm}} - target_{bmc}|}{C \sum_{b,m} valid_{bm} + 10^{-4}}

    The values at ``index`` are read where they stand: no transposed copy of the maps, no gathered tensor.

    Args:
        maps: float [B, C, H, W], such as the predicted sizes or offsets (C = 2).
        index: int64 [B, M], cells ``y * W + x``; as :func:`center_targets` gives them.
        target: [B, M, C], in the maps' dtype. What stands in slots that are not valid does not matter.
        valid: bool [B, M]. A slot whose index lies outside the map counts as not valid.

    Returns:
        The loss, a scalar in the maps' dtype (summed in float64); 0 where no slot is valid. Under autocast maps and
        target are cast to float32.

    Raises:
        RuntimeError: a shape, dtype or device does not fit; a gradient with respect to target is asked for.

    Differentiable: in maps, once; the gradient of slots that share a cell adds up, at zero error it is 0.
    Deterministic: yes.

    Source: CenterNet, arXiv:1904.07850, equations 2 and 3. Native code: csrc/heatmap/gather_l1_loss.h

    Example:
        >>> maps = torch.arange(8.0).view(1, 2, 2, 2)
        >>> index, valid = torch.tensor([[3, -1]]), torch.tensor([[True, False]])
        >>> gather_l1_loss(maps, index, torch.tensor([[[2.0, 9.0], [0.0, 0.0]]]), valid)
        tensor(1.4999)
    """
    loss, _ = _library.ops.gather_l1_loss(maps, index, target, valid)
    return loss


def _fake(maps: Tensor, index: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    scale_dtype = torch.float64 if maps.dtype == torch.float64 else torch.float32
    return maps.new_empty(()), maps.new_empty((), dtype=scale_dtype)


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, index, target, valid = inputs
    ctx.save_for_backward(output[1], maps, index, target, valid)


def _backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[2]:
        raise RuntimeError("gather_l1_loss: target has no gradient, only maps has: detach it")
    return _library.ops.gather_l1_loss_backward(grad_loss, *ctx.saved_tensors), None, None, None


def _backward_fake(
    grad_loss: Tensor, scale: Tensor, maps: Tensor, index: Tensor, target: Tensor, valid: Tensor
) -> Tensor:
    return maps.new_empty(maps.shape)


register("gather_l1_loss", fake=_fake, setup_context=_setup_context, backward=_backward, autocast=torch.float32)
register("gather_l1_loss_backward", fake=_backward_fake)
