"""Functions whose arguments torchvision takes in more forms than the ops do, or refuses in other words.

Errors that torchvision's users may catch are of its classes and begin as its messages do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.jit import is_scripting  # type: ignore[attr-defined]

import ldie_ext
from ldie_ext.compat.torchvision._peer import original
from ldie_ext.ops.conv.deform_conv2d import deform_conv2d as _deform_conv2d
from ldie_ext.ops.losses._reduction import REDUCTIONS, Reduction
from ldie_ext.ops.roi.roi_align import roi_align as _roi_align
from ldie_ext.ops.suppression.nms import nms as _nms


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """:func:`ldie_ext.nms`; quantized boxes are left to torchvision."""
    if not is_scripting() and boxes.is_quantized:
        return original("nms", "quantized boxes")(boxes, scores, iou_threshold)
    return _nms(boxes, scores, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`ldie_ext.batched_nms`; groups may also be numbered by floats, as class columns of detections often are.

    Equal scores come in torchvision's order: a sampler, or a limit on detections, may choose by it. Without boxes the
    other arguments do not matter.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    if idxs.is_floating_point():
        idxs = idxs.unique(return_inverse=True)[1]
    keep = ldie_ext.batched_nms(boxes, scores, idxs, iou_threshold)
    if boxes.device.type == "cpu" and boxes.numel() > 4000:  # here torchvision ends with a sort that is not stable
        keep = keep.sort()[0]
        keep = keep[scores[keep].sort(descending=True)[1]]
    return keep


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """:func:`ldie_ext.box_iou`; other formats and leading dimensions are left to torchvision."""
    if fmt != "xyxy":
        return original("box_iou", f"fmt={fmt!r}")(boxes1, boxes2, fmt)
    return _overlaps("box_iou", boxes1, boxes2)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """:func:`ldie_ext.generalized_box_iou`; leading dimensions are left to torchvision."""
    return _overlaps("generalized_box_iou", boxes1, boxes2)


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """:func:`ldie_ext.distance_box_iou`; leading dimensions are left to torchvision."""
    return _overlaps("distance_box_iou", boxes1, boxes2, eps)


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """:func:`ldie_ext.complete_box_iou`; leading dimensions are left to torchvision."""
    return _overlaps("complete_box_iou", boxes1, boxes2, eps)


def _overlaps(name: str, boxes1: Tensor, boxes2: Tensor, *eps: float) -> Tensor:
    plain = boxes1.dim() == boxes2.dim() == 2
    function = getattr(ldie_ext, name) if plain else original(name, "leading dimensions")
    return function(boxes1, boxes2, *eps)


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: Reduction = "none"
) -> Tensor:
    """:func:`ldie_ext.sigmoid_focal_loss` with torchvision's check of alpha and its promotion of dtypes."""
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(f"Invalid alpha value: {alpha}. alpha must be in [0, 1], or -1 for no weights")
    if reduction not in REDUCTIONS:
        raise ValueError(f"Invalid Value for arg 'reduction': it must be one of {list(REDUCTIONS)}, got {reduction!r}")
    if targets.requires_grad:
        return original("sigmoid_focal_loss", "a gradient of targets")(inputs, targets, alpha, gamma, reduction)
    dtype = torch.promote_types(inputs.dtype, targets.dtype)
    return ldie_ext.sigmoid_focal_loss(inputs.to(dtype), targets, alpha, gamma, reduction)


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | list[int] | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """:func:`ldie_ext.roi_align`; quantized tensors are left to torchvision."""
    if not is_scripting():
        _check_boxes(boxes)
    if not is_scripting() and input.is_quantized:
        theirs = original("roi_align", "quantized tensors")
        return theirs(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)
    return _roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


def _check_boxes(boxes: Tensor | list[Tensor]) -> None:
    columns, each = (5, [boxes]) if isinstance(boxes, Tensor) else (4, boxes)
    for tensor in each:
        if tensor.dim() != 2 or tensor.shape[1] != columns:
            what = "The boxes tensor shape" if columns == 5 else "The shape of the tensor in the boxes list"
            raise AssertionError(f"{what} is not correct: it must be [K, {columns}], got {list(tensor.shape)}")


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = (1, 1),
    padding: int | tuple[int, int] = (0, 0),
    dilation: int | tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """:func:`ldie_ext.deform_conv2d`."""
    if not is_scripting():
        _check_taps(offset, weight, mask)
    return _deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)


def _check_taps(offset: Tensor, weight: Tensor, mask: Tensor | None) -> None:
    taps = weight.shape[-2:].numel()
    groups = offset.shape[1] // (2 * taps)
    if groups == 0:
        raise RuntimeError(
            "the shape of the offset tensor at dimension 1 is not valid: it must be a multiple of 2 * kh * kw = "
            f"{2 * taps}, got {offset.shape[1]}"
        )
    if mask is not None and mask.shape[1] != groups * taps:
        raise RuntimeError(f"mask.shape[1] is not valid: got: {mask.shape[1]} expected: {groups * taps}")
