"""Suppression of score maps by their neighbours, before anything is decoded."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["points_nms"]


def points_nms(scores: Tensor, *, kernel: int = 2) -> Tensor:
    """Score maps with 0 in the cells that are no local maximum.

    ``scores * (scores == maximum of the window)``. The window of kernel 2 are the cells from (y - 1, x - 1) to (y, x):
    SOLO's ``max_pool2d(scores, 2, stride=1, padding=1)`` without its last row and column. The window of kernel 3 are a
    cell and its eight neighbours. Cells outside of the map take no part. Equal cells are all maxima, as are peaks of
    :func:`heatmap_peaks`.

    Args:
        scores: float [B, C, H, W]; probabilities, or else 0 is more than what a negative maximum keeps.
        kernel: 2 or 3, the side of the window.

    Returns:
        [B, C, H, W] in the dtype of scores: the score of a cell that is above -infinity and at least as high as all
        others of its window, 0 elsewhere. A NaN is no maximum and makes no cell one in whose window it is: both are 0.

    Raises:
        RuntimeError: scores is not a floating [B, C, H, W].
        ValueError: another kernel than 2 or 3.

    Differentiable: yes, any number of times: the gradient of a cell that keeps its score is that of the result, that of
    the others 0. The choice itself has no derivative. Deterministic: yes.

    Source: points NMS of SOLO's authors' code (Wang et al., arXiv:1912.04488). Native code:
    csrc/suppression/points_nms.h

    Example:
        >>> scores = torch.tensor([[0.1, 0.9, 0.2, 0.3], [0.2, 0.4, 0.1, 0.7]]).view(1, 1, 2, 4)
        >>> points_nms(scores)
        tensor([[[[0.1000, 0.9000, 0.0000, 0.3000],
                  [0.2000, 0.0000, 0.0000, 0.7000]]]])
        >>> points_nms(scores, kernel=3)
        tensor([[[[0.0000, 0.9000, 0.0000, 0.0000],
                  [0.0000, 0.0000, 0.0000, 0.7000]]]])
    """
    if kernel not in (2, 3):
        raise ValueError(f"kernel must be 2 or 3, got {kernel}")
    return _library.ops.points_nms(scores, scores.detach(), kernel == 3)


def _fake(values: Tensor, scores: Tensor, wide: bool) -> Tensor:
    return values.new_empty(values.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, scores, ctx.wide = inputs
    ctx.save_for_backward(scores)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    """The choice is linear in the values, so the gradient is the same choice among the gradients."""
    return _library.ops.points_nms(grad, *ctx.saved_tensors, ctx.wide), None, None


register("points_nms", fake=_fake, setup_context=_setup_context, backward=_backward)
