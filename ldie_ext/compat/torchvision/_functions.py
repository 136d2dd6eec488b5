"""Functions whose arguments torchvision takes in more forms than the ops do."""

from __future__ import annotations

import torch
from torch import Tensor

import ldie_ext
from ldie_ext.compat.torchvision._peer import original
from ldie_ext.ops.losses._reduction import Reduction


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`ldie_ext.batched_nms`; groups may also be numbered by floats, as class columns of detections often are.

    Equal scores come in torchvision's order: a sampler, or a limit on detections, may choose by it.
    """
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
        raise ValueError(f"alpha must be in [0, 1], or -1 for no weights, got {alpha}")
    if targets.requires_grad:
        return original("sigmoid_focal_loss", "a gradient of targets")(inputs, targets, alpha, gamma, reduction)
    dtype = torch.promote_types(inputs.dtype, targets.dtype)
    return ldie_ext.sigmoid_focal_loss(inputs.to(dtype), targets, alpha, gamma, reduction)
