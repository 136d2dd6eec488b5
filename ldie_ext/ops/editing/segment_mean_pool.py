"""The mean of a feature map over the pixels of each segment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._layout import channels_last, make_empty
from ldie_ext._register import register

__all__ = ["segment_mean_pool"]


def segment_mean_pool(features: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """The mean of the features over the pixels of each segment of a panoptic or superpixel map.

    ``means[b, s, c] = mean of features[b, c, y, x] over the pixels with segments[b, y, x] = s``: one vector for each
    object, where RoIAlign gives a grid for each box.

    Args:
        features: float [B, C, H, W], read as it stands in memory, channels last or not.
        segments: int64 (int32 is converted) [B, H, W], the number of each pixel's segment, 0 to num_segments - 1. Any
            other number belongs to no segment; -1 is the one to use for such pixels.
        num_segments: how many segments an image has, S; at least 0. Images with fewer leave the last ones empty.

    Returns:
        The means [B, S, C], of features' dtype and contiguous; 0 for a segment without pixels. 16-bit features are
        added up in float32. What belongs to no segment is not used, NaN included.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit; num_segments is below 0.

    Differentiable: in features, any number of times; each pixel has its share of the gradient of its segment's mean,
    in the memory format of features, and 0 where it belongs to none.
    Deterministic: yes, and the same for any number of threads.

    Source: the pooling of features over panoptic masks in place of a grid, for the grounding of Shi et al., A Benchmark
    and Baseline for Language-Driven Image Editing, arXiv:2010.02330. Native code: csrc/editing/segment_mean_pool.h

    Example:
        >>> features = torch.tensor([[[[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]]]])
        >>> segments = torch.tensor([[[0, 0, 2], [0, -1, 2]]])
        >>> segment_mean_pool(features, segments, 3)
        tensor([[[2.],
                 [0.],
                 [7.]]])
    """
    if segments.dtype == torch.int32:
        segments = segments.to(torch.int64)
    means, _ = _library.ops.segment_mean_pool(features, segments, num_segments, channels_last([features]))
    return means


def _fake(features: Tensor, segments: Tensor, num_segments: int, last: bool) -> tuple[Tensor, Tensor]:
    batch, channels = features.shape[:2]
    return (
        features.new_empty(batch, num_segments, channels),
        features.new_empty(batch, num_segments, dtype=torch.int64),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, segments, _, ctx.channels_last = inputs
    ctx.save_for_backward(output[1], segments)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    counts, segments = ctx.saved_tensors
    return _library.ops.segment_mean_pool_backward(grad, counts, segments, ctx.channels_last), None, None, None


def _fake_backward(grad: Tensor, counts: Tensor, segments: Tensor, last: bool) -> Tensor:
    return make_empty(grad, (segments.shape[0], grad.shape[2], *segments.shape[1:]), last)


# The op is linear in the features, so the gradient of its backward is the op itself.
def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, _, segments, ctx.channels_last = inputs
    ctx.save_for_backward(segments)
    ctx.num_segments = grad.shape[1]


def _backward_backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
    (segments,) = ctx.saved_tensors
    means, _ = _library.ops.segment_mean_pool(tangent, segments, ctx.num_segments, ctx.channels_last)
    return means, None, None, None


register("segment_mean_pool", fake=_fake, setup_context=_setup_context, backward=_backward)
register("segment_mean_pool_backward", fake=_fake_backward, setup_context=_save_linear, backward=_backward_backward)
