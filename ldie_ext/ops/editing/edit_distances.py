"""How far from a target each of many sequences of edits brings an image, without the edited images."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.editing._computed import computed_dtype, masks_in

__all__ = ["edit_distances"]

METRICS = ("l1", "l2")
Metric = Literal["l1", "l2"]


def edit_distances(
    images: Tensor,
    targets: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None = None,
    mask_index: Tensor | None = None,
    exclusive: Tensor | None = None,
    *,
    metric: Metric = "l1",
) -> Tensor:
    """Distances from targets of what P candidate sequences of edits make of each image, without storing what they make.

    ``out[b, p] = mean |y - targets[b]|`` for 'l1', ``mean (y - targets[b])**2`` for 'l2' (the mean square, not its
    root), over pixels and channels, where y is what :func:`apply_edits` makes of ``images[b]`` by ``ops[b, p]`` and
    ``params[b, p]``, in the precision that it computes in: y of 16-bit or uint8 images is not rounded to their levels.

    Images and targets are read once for a block of candidates that pass over them while they are in the cache. Beside
    its result a call takes some scratch memory whose size does not grow with P, forward and backward, but for 8 bytes a
    candidate and 4,096 pixels on the CPU. Candidates with SHARPNESS, BLUR or EDGE go by tiles of the image, each with
    as many pixels around it as there are of them.

    Args:
        images: float [B, 3, H, W], RGB in [0, 1], or uint8 in [0, 255], which counts as 255ths.
        targets: as images in shape and dtype.
        ops: int64 [B, P, K], numbers of :class:`EditOp`, at most 32 a candidate, of them at most 8
            SHARPNESS, BLUR and EDGE; pad with ``NONE``.
        params: float [B, P, K, 24], as those of :func:`apply_edits`. Converted to float64 for images of float64, else
            to float32.
        masks: bool or float in [0, 1] [M, H, W], a pool for all candidates; floats are converted as params.
        mask_index: int64 [B, P, K], which mask a step has, -1: the whole image. Given with masks.
        exclusive: bool [B, P, K], whether a step acts outside of its mask; without effect on the whole image.
        metric: 'l1' or 'l2'.

    Returns:
        [B, P], float64 for images of float64, else float32. Images without pixels have distance 0. NaN in a target
        makes its distances NaN, and so does NaN in an image where no step acts on it; a step makes a number of it.
        What is wrong in ops, mask_index and curves is treated as by :func:`apply_edits`: an error on the CPU, a step
        that does nothing on CUDA.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit; on the CPU also an operator or mask that is not there, a
            curve without weight, or more than 8 stencils in a candidate.
        ValueError: an unknown metric.

    Differentiable: once, in params and in floating images and targets, by doing the steps again; a gradient of masks
    or a second derivative raises. 'l1' has gradient 0 where there is no distance.
    Deterministic: yes, gradients too, and neither depends on the number of threads: sums are added in a fixed order.

    Source: what the planner of Shi et al., Learning by Planning: Language-Guided Global Image Editing,
    arXiv:2106.13156, minimises. Native code: csrc/editing/edit_distances.h

    Example:
        >>> images, targets = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 0.25)
        >>> ops = torch.full((1, 3, 1), ldie_ext.EditOp.BRIGHTNESS)
        >>> params = torch.zeros(1, 3, 1, 24)
        >>> params[0, :, 0, 0] = torch.tensor([0.0, -0.5, 0.5])
        >>> edit_distances(images, targets, ops, params)
        tensor([[0.2500, 0.0000, 0.5000]])
    """
    code = option_code("metric", metric, METRICS)
    computed = computed_dtype(images)
    masks = masks_in(computed, masks)
    return _library.ops.edit_distances(images, targets, ops, params.to(computed), masks, mask_index, exclusive, code)


def _fake(
    images: Tensor,
    targets: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None,
    mask_index: Tensor | None,
    exclusive: Tensor | None,
    metric: int,
) -> Tensor:
    return params.new_empty(ops.shape[:2])


def _fake_backward(
    grad: Tensor,
    images: Tensor,
    targets: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None,
    mask_index: Tensor | None,
    exclusive: Tensor | None,
    metric: int,
    of_images: bool,
    of_targets: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    of_pairs = (params.new_empty(images.shape if wanted else (0,)) for wanted in (of_images, of_targets))
    return *of_pairs, params.new_empty(params.shape)  # type: ignore[return-value]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.metric = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    of_images, of_targets, _, _, of_masks, *_ = ctx.needs_input_grad
    if of_masks:
        raise RuntimeError("ldie_ext.edit_distances is not differentiable in masks: detach them")
    tensors = ctx.saved_tensors
    images, targets, params = _library.ops.edit_distances_backward(grad, *tensors, ctx.metric, of_images, of_targets)
    dtype = tensors[0].dtype
    return (
        images.to(dtype) if of_images else None,
        targets.to(dtype) if of_targets else None,
        None,
        params,
        None,
        None,
        None,
        None,
    )


register("edit_distances", fake=_fake, setup_context=_setup_context, backward=_backward)
register("edit_distances_backward", fake=_fake_backward)
