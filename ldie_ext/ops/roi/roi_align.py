"""RoIAlign on one feature map, and the autograd of the native op that serves pyramids too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]

from ldie_ext import _library
from ldie_ext._layout import channels_last, make_empty
from ldie_ext._register import register
from ldie_ext.ops.ragged.integers import integers

__all__ = ["roi_align"]


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | list[int] | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Features of regions of interest, bilinearly sampled on a regular grid of bins; as ``torchvision.ops.roi_align``.

    Each RoI is split into h x w bins. A bin is the mean of ``g_y * g_x`` samples of the feature map ``F``, at::

        y(p, i) = y1 * spatial_scale - s + p * bin_y + (i + 0.5) * bin_y / g_y,   bin_y = extent_y / h

    with ``s = 0.5`` when aligned and 0 otherwise, where the extent is also at least 1 cell; ``x`` likewise. A sample
    up to one cell outside the map takes the border's value, one farther out counts as 0.

    Args:
        input: float [B, C, H, W]; channels-last maps are read as they are.
        boxes: float [K, 5], the image's index (truncated to an integer) and x1 y1 x2 y2; or one float [L, 4] for each
            image. Any floating dtype: coordinates are computed in float32 (float64 for a float64 input).
        output_size: (h, w) of the bins, or one number for both.
        spatial_scale: cells of the map per unit of the boxes.
        sampling_ratio: samples of a bin along each axis, at most 16384; 0 or below takes ``ceil(bin)`` of them, at
            most 16384, so that no box can run for ever.
        aligned: cell centres stand at 0.5, so that a RoI and its bins agree to a fraction of a cell.

    Returns:
        [K, C, h, w] in the input's dtype, channels last in memory when the input is. All 0 for a RoI whose image does
        not exist or with a coordinate that is not finite on the map (NaN, infinite), and for an aligned RoI of extent
        0 or below on an adaptive grid. One infinite corner leaves a RoI that is not aligned as it is: x2 or y2 of
        minus infinity lies before x1 or y1 as any smaller end does, and the extent is 1 cell.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or output_size or spatial_scale is not positive.

    Differentiable: yes, in input, any number of times; boxes get no gradient. Deterministic: yes, also backward, with
    no memory beyond the result's but for small tables.

    Source: He et al., Mask R-CNN, 2017, section 3. Native code: csrc/roi/roi_align.h

    Example:
        >>> input = torch.arange(16.0).view(1, 1, 4, 4)
        >>> roi_align(input, torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]), 2, aligned=True)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    offsets: Tensor | None = None
    if isinstance(boxes, Tensor):
        flat = boxes
    else:
        flat, offsets = flatten_boxes(boxes)
    height, width = size_pair(output_size)
    return _library.ops.roi_align(
        [input], coordinates(flat, input), offsets, height, width, channels_last([input]), [spatial_scale],
        sampling_ratio, aligned, 224.0, 4, 0, 0,
    )  # fmt: skip


# What follows here is also read by TorchScript, which knows lists and tuples, but no sequences.


def size_pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size that may be one number."""
    if isinstance(size, list):
        height, width = size
        return height, width
    if isinstance(size, tuple):
        return size
    return size, size


def coordinates(boxes: Tensor, features: Tensor) -> Tensor:
    """Boxes in the type that coordinates are computed in: never a 16-bit one, which would move them by pixels."""
    return boxes.to(torch.float64 if features.dtype == torch.float64 else torch.float32)


def flatten_boxes(boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Boxes [K, 4] and offsets [B + 1] of one tensor for each image."""
    flat = torch.cat(boxes)
    if is_tracing():  # what is traced here serves other numbers of boxes too
        counts = torch.stack([torch._shape_as_tensor(image)[0] for image in boxes])
        return flat, torch.nn.functional.pad(counts.cumsum(0), [1, 0]).to(flat.device)
    offsets = [0]
    for image in boxes:
        offsets.append(offsets[-1] + image.shape[0])
    return flat, integers(offsets, flat)


def _fake(
    features: list[Tensor], boxes: Tensor, offsets: Tensor | None, height: int, width: int, channels_last: bool,
    *_: object,
) -> Tensor:  # fmt: skip
    return make_empty(features[0], (boxes.shape[0], features[0].shape[1], height, width), channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, offsets, _, _, ctx.channels_last, *ctx.options = inputs
    ctx.save_for_backward(boxes, offsets)
    ctx.sizes = [side for feature in features for side in feature.shape[2:]]
    ctx.batch = features[0].shape[0]


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    boxes, offsets = ctx.saved_tensors
    grads = _library.ops.roi_align_backward(grad, boxes, offsets, ctx.sizes, ctx.batch, ctx.channels_last, *ctx.options)
    return grads, *[None] * 12


def _backward_fake(
    grad: Tensor, boxes: Tensor, offsets: Tensor | None, sizes: list[int], batch: int, channels_last: bool, *_: object
) -> list[Tensor]:
    shapes = [(batch, grad.shape[1], *sizes[i : i + 2]) for i in range(0, len(sizes), 2)]
    return [make_empty(grad, shape, channels_last) for shape in shapes]


# The op is linear in the features, so the gradient of its backward is the op itself.
def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    grad, boxes, offsets, _, _, *ctx.options = inputs
    ctx.save_for_backward(boxes, offsets)
    ctx.bins = grad.shape[2:]


def _backward_backward(ctx: Any, tangents: list[Tensor]) -> tuple[Any, ...]:
    result = _library.ops.roi_align(tangents, *ctx.saved_tensors, *ctx.bins, *ctx.options)
    return result, *[None] * 12


register("roi_align", fake=_fake, setup_context=_setup_context, backward=_backward)
register("roi_align_backward", fake=_backward_fake, setup_context=_save_linear, backward=_backward_backward)
