"""Cross entropy over the cells of heatmaps: the loss of a keypoint head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.losses._reduction import REDUCTIONS, Reduction

__all__ = ["spatial_softmax_cross_entropy"]


def spatial_softmax_cross_entropy(
    logits: Tensor, index: Tensor, valid: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """Cross entropy of each heatmap's softmax over its cells, against one target cell; maps without target are skipped.

    ``loss = log(sum(exp(x))) - x[index]`` over the H * W logits ``x`` of a map, and its gradient is ``softmax(x)`` less
    1 at the target. One pass over the logits of valid maps forward and one backward: no softmax is stored, valid maps
    are not gathered, and nothing waits to learn how many there are.

    Args:
        logits: float [N, K, H, W], one map for each of K keypoints.
        index: int64 [N, K], target cells ``row * W + column``, as :func:`ldie_ext.keypoint_targets` gives them.
        valid: bool [N, K]. A map whose index lies outside it counts as not valid.
        reduction: 'mean' divides the sum by the number of valid maps; 'sum'; 'none' gives [N, K] with 0 where not
            valid.

    Returns:
        The loss in the dtype of logits (computed in float32 for 16-bit types, summed in float64). Sum and mean are 0
        where no map is valid. A NaN in a valid map makes its loss NaN; what stands in others does not matter.

    Raises:
        RuntimeError: a shape, dtype or device does not fit.
        ValueError: an unknown reduction.

    Differentiable: once, in logits; the gradient of maps that are not valid is 0. Under autocast computed in float32.
    Deterministic: yes, and the result does not depend on the number of threads.

    Source: He et al., Mask R-CNN, arXiv:1703.06870, section 5; torchvision's keypointrcnn_loss. Native code:
    csrc/losses/spatial_softmax_cross_entropy.h

    Example:
        >>> logits = torch.tensor([0.0, 2.0, 0.0, 0.0]).view(1, 1, 2, 2).expand(1, 2, 2, 2)
        >>> index, valid = torch.tensor([[1, 0]]), torch.tensor([[True, False]])
        >>> spatial_softmax_cross_entropy(logits, index, valid)
        tensor(0.3408)
    """
    code = option_code("reduction", reduction, REDUCTIONS)
    loss, _, _ = _library.ops.spatial_softmax_cross_entropy(logits, index, valid, code)
    return loss


def _fake(logits: Tensor, index: Tensor, valid: Tensor, reduction: int) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    loss = logits.new_empty(logits.shape[:2] if reduction == REDUCTIONS.index("none") else ())
    return loss, logits.new_empty((*logits.shape[:2], 2), dtype=dtype), logits.new_empty((), dtype=dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, index, valid, ctx.reduction = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(logits, index, valid, *output[1:])


def _backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    gradient = _library.ops.spatial_softmax_cross_entropy_backward(grad, *ctx.saved_tensors, ctx.reduction)
    return gradient, None, None, None


def _backward_fake(
    grad: Tensor, logits: Tensor, index: Tensor, valid: Tensor, normalizers: Tensor, scale: Tensor, reduction: int
) -> Tensor:
    return logits.new_empty(logits.shape)


register(
    "spatial_softmax_cross_entropy",
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
    autocast=torch.float32,
)
register("spatial_softmax_cross_entropy_backward", fake=_backward_fake)
