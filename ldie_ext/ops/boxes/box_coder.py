"""Boxes as offsets from proposals: what a detector's regression learns, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["decode_boxes", "encode_boxes"]

Weights = Sequence[float]
DEFAULT_CLIP = math.log(1000.0 / 16)


def encode_boxes(reference: Tensor, proposals: Tensor, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The offsets from proposals to reference boxes: torchvision's ``BoxCoder.encode_single`` in one pass.

    With centres (X, Y), (x, y) and sizes (W, H), (w, h) of reference and proposal:
    ``wx (X - x) / w, wy (Y - y) / h, ww log(W / w), wh log(H / h)``.

    Args:
        reference: float [N, 4], x1 y1 x2 y2, usually ground truth.
        proposals: [N, 4] on the same device, one for each row. Two dtypes are computed in the wider one.
        weights: (wx, wy, ww, wh), positive.

    Returns:
        [N, 4], dx dy dw dh; 16-bit boxes are computed in float32 and rounded once. As the formula has it, a reference
        without width gives -inf, a proposal without width inf or NaN, an inverted box and NaN give NaN.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or weights are not four positive numbers.

    Differentiable: once, in reference and proposals; a second derivative raises. Under autocast computed in float32.
    Deterministic: yes.

    Source: Ren et al., Faster R-CNN, arXiv:1506.01497, eq. 2. Native code: csrc/boxes/box_coder.h

    Example:
        >>> encode_boxes(torch.tensor([[2.0, 0.0, 6.0, 4.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
        tensor([[0.5000, 0.0000, 0.0000, 0.0000]])
    """
    reference, proposals = _of_one_dtype(reference, proposals)
    return _library.ops.encode_boxes(reference, proposals, [float(weight) for weight in weights])


def decode_boxes(
    deltas: Tensor,
    proposals: Tensor,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    *,
    clip: float = DEFAULT_CLIP,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The boxes that offsets make of proposals: torchvision's ``BoxCoder.decode_single``, with the clip to the image.

    With a proposal's centre (x, y) and size (w, h) the box has the centre ``dx / wx w + x, dy / wy h + y`` and the size
    ``exp(min(dw / ww, clip)) w, exp(min(dh / wh, clip)) h``.

    Args:
        deltas: float [N, 4], [N, 4 K] or [N, K, 4], dx dy dw dh of one or K boxes (classes) for each proposal.
        proposals: [N, 4] on the same device, x1 y1 x2 y2. Two dtypes are computed in the wider one, so float32 anchors
            give float32 boxes also where deltas have 16 bits.
        weights: (wx, wy, ww, wh) of :func:`encode_boxes`, positive.
        clip: the most that dw / ww and dh / wh may be, so that no size overflows. Sizes below float64 never grow by
            more than e^88, whatever the clip.
        size: (H, W) of the image that boxes are clipped to, or None.

    Returns:
        Boxes in the shape of deltas, x1 y1 x2 y2; 16-bit inputs are computed in float32 and rounded once. NaN gives
        NaN, clipped or not. (torchvision's ``BoxCoder.decode`` is this for deltas [N, K, 4].)

    Raises:
        RuntimeError: a shape, dtype or device does not fit, weights are not four positive numbers, or clip is NaN.

    Differentiable: once, in deltas and proposals; at the clips as torch.clamp: a value on the bound still has its
    gradient, one beyond has none. A second derivative raises. Under autocast computed in float32.
    Deterministic: yes.

    Source: Ren et al., Faster R-CNN, arXiv:1506.01497, eq. 2. Native code: csrc/boxes/box_coder.h

    Example:
        >>> anchors, deltas = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[0.5, 0.0, 0.0, 0.0]])
        >>> decode_boxes(deltas, anchors, size=(4, 5))
        tensor([[2., 0., 5., 4.]])
    """
    deltas, proposals = _of_one_dtype(deltas, proposals)
    return _library.ops.decode_boxes(deltas, proposals, [float(weight) for weight in weights], float(clip), size)


def _of_one_dtype(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)


def _fake_encode(reference: Tensor, proposals: Tensor, weights: list[float]) -> Tensor:
    return reference.new_empty(reference.shape)


def _fake_encode_backward(
    grad: Tensor, reference: Tensor, proposals: Tensor, weights: list[float]
) -> tuple[Tensor, Tensor]:
    return reference.new_empty(reference.shape), reference.new_empty(reference.shape)


def _fake_decode(
    deltas: Tensor, proposals: Tensor, weights: list[float], clip: float, size: list[int] | None
) -> Tensor:
    return deltas.new_empty(deltas.shape)


def _fake_decode_backward(
    grad: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    weights: list[float],
    clip: float,
    size: list[int] | None,
    of_proposals: bool,
) -> tuple[Tensor, Tensor]:
    return deltas.new_empty(deltas.shape), proposals.new_empty(proposals.shape[0] if of_proposals else 0, 4)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, *ctx.options = inputs
    ctx.save_for_backward(first, second)


def _encode_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_library.ops.encode_boxes_backward(grad, *ctx.saved_tensors, *ctx.options), None


def _decode_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    of_proposals = ctx.needs_input_grad[1]
    of_deltas, of_rows = _library.ops.decode_boxes_backward(grad, *ctx.saved_tensors, *ctx.options, of_proposals)
    return of_deltas, of_rows if of_proposals else None, None, None, None


register(
    "encode_boxes",
    fake=_fake_encode,
    setup_context=_setup_context,
    backward=_encode_backward,
    autocast=torch.float32,
)
register("encode_boxes_backward", fake=_fake_encode_backward)
register(
    "decode_boxes",
    fake=_fake_decode,
    setup_context=_setup_context,
    backward=_decode_backward,
    autocast=torch.float32,
)
register("decode_boxes_backward", fake=_fake_decode_backward)
