"""Overlaps of all pairs of two sets of boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["box_iou", "complete_box_iou", "distance_box_iou", "generalized_box_iou"]

KINDS = ("iou", "generalized", "distance", "complete")  # in the order of their native codes
EPS = 1e-7


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair of boxes, as ``torchvision.ops.box_iou``.

    ``iou[i, j] = I / (area(a[i]) + area(b[j]) - I)`` with the intersection ``I`` of the two boxes. Bit for bit what
    torchvision computes, in one pass that writes the result and nothing else.

    Args:
        a: [N, 4], x1 y1 x2 y2, of any real dtype.
        b: [M, 4], likewise; the two are computed in the dtype that PyTorch promotes them to.

    Returns:
        [N, M] in float32, float64 for float64 boxes, or PyTorch's default dtype for integers, which are computed in
        float64 first. 16-bit boxes are computed in float32, but for the sides of the intersection, which torchvision
        subtracts in 16 bits. Boxes that do not touch have 0; two without area 0 / 0, NaN; those with a NaN NaN.
        Areas of inverted boxes are taken as they come.

    Raises:
        RuntimeError: a shape or device does not fit.

    Differentiable: once, in a and b; at ties of coordinates the two boxes get half each, as PyTorch's maximum does;
    boxes that only touch get nothing, as PyTorch's clamp does from 2.14 on (before, it passed the gradient there).
    Deterministic: yes, gradients too, and they do not depend on the number of threads.

    Source: torchvision.ops.box_iou. Native code: csrc/boxes/box_iou.h

    Example:
        >>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        >>> box_iou(a, torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]]))
        tensor([[1.0000, 0.3333, 0.0000]])
    """
    return _overlaps(a, b, "iou", 0.0)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union of every pair of boxes, as ``torchvision.ops.generalized_box_iou``.

    ``giou = iou - (H - U) / H`` with the area ``H`` of the smallest box around both and that of their union ``U``:
    from -1 for boxes far apart to 1 for equal ones.

    Args:
        a: [N, 4], x1 y1 x2 y2, of any real dtype.
        b: [M, 4], likewise.

    Returns:
        [N, M], with dtypes as in :func:`box_iou`. NaN where the IoU is, and where a hull has no area.

    Raises:
        RuntimeError: a shape or device does not fit.

    Differentiable: once, in a and b; as :func:`box_iou`. Deterministic: yes, gradients too.

    Source: Rezatofighi et al., arXiv:1902.09630; torchvision.ops.generalized_box_iou. Native code:
    csrc/boxes/box_iou.h

    Example:
        >>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        >>> generalized_box_iou(a, torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 2.0, 4.0, 4.0]]))
        tensor([[ 1.0000, -0.5000]])
    """
    return _overlaps(a, b, "generalized", 0.0)


def distance_box_iou(a: Tensor, b: Tensor, eps: float = EPS) -> Tensor:
    """Distance intersection over union of every pair of boxes, as ``torchvision.ops.distance_box_iou``.

    ``diou = iou - d**2 / (D**2 + eps)`` with the distance ``d`` of the centres and the diagonal ``D`` of the smallest
    box around both.

    Args:
        a: [N, 4], x1 y1 x2 y2, of any real dtype.
        b: [M, 4], likewise.
        eps: keeps the quotient defined for boxes that are one point.

    Returns:
        [N, M], with dtypes as in :func:`box_iou`; 16-bit boxes are computed in float32 throughout. NaN where the IoU
        is.

    Raises:
        RuntimeError: a shape or device does not fit.

    Differentiable: once, in a and b; as :func:`box_iou`. Deterministic: yes, gradients too.

    Source: Zheng et al., arXiv:1911.08287, eq. 7; torchvision.ops.distance_box_iou. Native code: csrc/boxes/box_iou.h

    Example:
        >>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        >>> distance_box_iou(a, torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 2.0, 4.0, 4.0]]))
        tensor([[ 1.0000, -0.2500]])
    """
    return _overlaps(_at_least_float32(a), _at_least_float32(b), "distance", eps)


def complete_box_iou(a: Tensor, b: Tensor, eps: float = EPS) -> Tensor:
    """Complete intersection over union of every pair of boxes, as ``torchvision.ops.complete_box_iou``.

    ``ciou = diou - alpha * v`` with ``v = 4 / pi**2 * (atan(w_a / h_a) - atan(w_b / h_b))**2``, the difference of the
    aspect ratios, and ``alpha = v / (1 - iou + v + eps)``, which is a constant to the gradient.

    Args:
        a: [N, 4], x1 y1 x2 y2, of any real dtype.
        b: [M, 4], likewise.
        eps: keeps the quotients defined.

    Returns:
        [N, M], with dtypes as in :func:`distance_box_iou`. NaN where the IoU is, and for a box that is one point.

    Raises:
        RuntimeError: a shape or device does not fit.

    Differentiable: once, in a and b; as :func:`box_iou`; in boxes of no height but some width too, where torchvision's
    gradient is NaN. Deterministic: yes, gradients too.

    Source: Zheng et al., arXiv:1911.08287, eq. 8 to 11; torchvision.ops.complete_box_iou. Native code:
    csrc/boxes/box_iou.h

    Example:
        >>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        >>> complete_box_iou(a, torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 4.0, 1.0]]))
        tensor([[1.0000, 0.2530]])
    """
    return _overlaps(_at_least_float32(a), _at_least_float32(b), "complete", eps)


def _at_least_float32(boxes: Tensor) -> Tensor:
    return boxes.float() if boxes.is_floating_point() and boxes.dtype != torch.float64 else boxes


def _overlaps(a: Tensor, b: Tensor, kind: str, eps: float) -> Tensor:
    dtype = torch.promote_types(a.dtype, b.dtype)
    code = KINDS.index(kind)
    if dtype.is_floating_point:
        return _library.ops.box_iou(a.to(dtype), b.to(dtype), code, eps)
    return _library.ops.box_iou(a.double(), b.double(), code, eps).to(torch.get_default_dtype())


def _overlap_dtype(boxes: Tensor) -> torch.dtype:
    return torch.float64 if boxes.dtype == torch.float64 else torch.float32


def _fake(a: Tensor, b: Tensor, kind: int, eps: float) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[0]), dtype=_overlap_dtype(a))


def _fake_backward(grad: Tensor, a: Tensor, b: Tensor, kind: int, eps: float) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, *ctx.rule = inputs
    ctx.save_for_backward(a, b)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_library.ops.box_iou_backward(grad, *ctx.saved_tensors, *ctx.rule), None, None


register("box_iou", fake=_fake, setup_context=_setup_context, backward=_backward)
register("box_iou_backward", fake=_fake_backward)
