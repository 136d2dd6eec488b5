"""Adversarial loss of a scale discriminator, counted only where ground-truth boxes are."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.adversarial.box_class_masks import ROUNDINGS, Rounding

__all__ = ["masked_scale_loss", "materialize_masked_scores"]

Side = Literal["detector", "discriminator"]
Kind = Literal["wasserstein", "hinge"]
SIDES, KINDS = ("detector", "discriminator"), ("wasserstein", "hinge")


def masked_scale_loss(
    scores: Tensor,
    scale: int,
    boxes: Tensor | None = None,
    labels: Tensor | None = None,
    offsets: Tensor | None = None,
    *,
    masks: Tensor | None = None,
    num_classes: int | None = None,
    class_agnostic: bool = False,
    side: Side = "detector",
    kind: Kind = "wasserstein",
    normalize: bool = True,
    rounding: Rounding = "trunc",
    weight: Tensor | None = None,
) -> Tensor:
    """Wasserstein or hinge loss of per-pixel scale scores, each counted once per class that covers its pixel.

    The discriminator gives a score per scale and pixel, ``O = scores * weight``; with ``s_j = -1`` for the true scale
    ``j = scale`` and ``+1`` for the others (the detector's side; the discriminator's side is the negative), and
    ``M[b, c, y, x]`` the mask of class ``c``::

        wasserstein   sum M s_j O_j / D
        hinge         sum M relu(1 + s_j O_j) / D        normalised
                      mean of relu(1 + s_j O_j M)        not normalised: masked-out elements count 1

    ``D = S * sum(M)`` when normalised and ``B * Nc * S * H * W`` otherwise. The product of masks and scores,
    [B * Nc, S, H, W], is never formed: summed over the classes, M only counts the distinct classes that cover a pixel.

    Args:
        scores: float [B, S, H, W], one channel per scale.
        scale: the true scale of these features, 0 <= scale < S.
        boxes: float [N, 4], x1 y1 x2 y2 in cells of the map, which give M as in :func:`ldie_ext.box_class_masks`;
            any floating dtype.
        labels: int64 [N], needed with boxes; those outside [0, num_classes) are left out unless class-agnostic.
        offsets: int64 [B + 1], needed with boxes; image ``b`` owns boxes ``offsets[b]`` to ``offsets[b + 1]``.
        masks: M itself instead of boxes, bool or uint8 [B, Nc, H, W], covered where not 0. Without boxes and masks
            every pixel counts once (M = 1, Nc = 1).
        num_classes: Nc, needed with boxes unless class-agnostic.
        class_agnostic: every covered pixel counts once, whatever the classes (Nc = 1).
        side: 'detector', or 'discriminator' for the opposite sign.
        kind: 'wasserstein' or 'hinge'.
        normalize: divide by the covered elements instead of by all.
        rounding: of the boxes' edges, 'trunc' or 'outward'.
        weight: float [B, 1 or S, H, W], multiplies the scores; a constant that may not require a gradient.

    Returns:
        The loss, a scalar: float32, or float64 for float64 scores. When nothing is covered the normalised loss and
        its gradient are 0; so are those of empty scores. Scores that no class covers are never read into the sum, so
        that a NaN there does no harm.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, boxes come with masks or without labels and offsets,
            scale is no channel, (on the CPU) offsets do not rise from 0 to N, or weight requires a gradient.
        ValueError: an unknown side, kind or rounding, or boxes without num_classes.

    Differentiable: yes, in scores, any number of times (the hinge's kink has slope 0). Deterministic: yes.

    Source: Wasserstein scale discriminator with ground-truth box masks of RDSP (IEEE Access 2023); hinge as in Lim &
    Ye, Geometric GAN, 2017. Native code: csrc/adversarial/masked_scale_loss.h

    Example:
        >>> scores = torch.ones(1, 3, 4, 4)
        >>> boxes, labels, offsets = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([1]), torch.tensor([0, 1])
        >>> masked_scale_loss(scores, 0, boxes, labels, offsets, num_classes=2)
        tensor(0.3333)
    """
    if num_classes is None and boxes is not None and not class_agnostic:
        raise ValueError("num_classes must be given with boxes unless class_agnostic=True")
    discriminator = bool(option_code("side", side, SIDES))
    hinge = bool(option_code("kind", kind, KINDS))
    if weight is not None:
        weight = weight.to(_accumulate_dtype(scores))
    loss, _, _ = _library.ops.masked_scale_loss(
        scores, boxes, labels, offsets, masks, weight, scale, 1 if num_classes is None else num_classes, class_agnostic,
        discriminator, hinge, normalize, option_code("rounding", rounding, ROUNDINGS),
    )  # fmt: skip
    return loss


def materialize_masked_scores(scores: Tensor, masks: Tensor) -> Tensor:
    """The product that :func:`masked_scale_loss` avoids, for parity tests only: B * Nc * S * H * W elements.

    Row ``b * Nc + c`` is image ``b`` under the mask of class ``c``, so that dimension 1 stays the scale.

    Args:
        scores: float [B, S, H, W].
        masks: bool or uint8 [B, Nc, H, W], 0 or 1.

    Returns:
        float [B * Nc, S, H, W] in the dtype of scores.

    Raises:
        RuntimeError: the shapes do not fit.

    Differentiable: yes, in scores. Deterministic: yes.

    Source: plain PyTorch.

    Example:
        >>> masks = torch.tensor([[[[True, False]], [[True, True]]]])
        >>> materialize_masked_scores(torch.ones(1, 3, 1, 2), masks)[:, 0, 0]
        tensor([[1., 0.],
                [1., 1.]])
    """
    return (scores[:, None] * masks[:, :, None].to(scores.dtype)).flatten(0, 1)


def _accumulate_dtype(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _fake(
    scores: Tensor,
    boxes: Tensor | None,
    labels: Tensor | None,
    offsets: Tensor | None,
    masks: Tensor | None,
    weight: Tensor | None,
    scale: int,
    num_classes: int,
    class_agnostic: bool,
    *_: object,
) -> tuple[Tensor, Tensor, Tensor]:
    planes = 1
    if not class_agnostic:
        planes = num_classes if boxes is not None else masks.shape[1] if masks is not None else 1
    shape = torch.Size([scores.shape[0], *scores.shape[2:]] if boxes is not None or masks is not None else [0])
    counts = scores.new_empty(shape, dtype=torch.uint8 if planes <= 255 else torch.int32)
    loss, reciprocal = (scores.new_empty((), dtype=_accumulate_dtype(scores)) for _ in range(2))
    return loss, counts, reciprocal


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, _, _, _, _, weight, scale, _, _, discriminator, hinge, _, _ = inputs
    if weight is not None and weight.requires_grad:
        raise RuntimeError("masked_scale_loss: weight is a constant, but it requires a gradient: detach it")
    _, counts, reciprocal = output
    ctx.mark_non_differentiable(counts, reciprocal)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(scores, counts, reciprocal, weight)
    ctx.mode = (scale, discriminator, hinge)


def _backward(ctx: Any, grad_loss: Tensor | None, *_: object) -> tuple[Tensor | None, ...]:
    grad = None
    if grad_loss is not None:
        grad = _library.ops.masked_scale_loss_backward(grad_loss, *ctx.saved_tensors, *ctx.mode)
    return grad, *[None] * 12


def _backward_fake(grad_loss: Tensor, scores: Tensor, *_: object) -> Tensor:
    return torch.empty_like(scores, memory_format=torch.contiguous_format)


# The gradient is linear in grad_loss and piecewise constant in the scores, so the backward and its own backward are
# each other's adjoint: that one contracts a tangent with the gradient. The two make every higher derivative.
def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, *saved, scale, discriminator, hinge = inputs
    ctx.save_for_backward(*saved)
    ctx.mode = (scale, discriminator, hinge)


def _backward_backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
    result = _library.ops.masked_scale_loss_double_backward(tangent, *ctx.saved_tensors, *ctx.mode)
    return result, *[None] * 7


def _double_backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    result = _library.ops.masked_scale_loss_backward(grad, *ctx.saved_tensors, *ctx.mode)
    return result, *[None] * 7


def _double_backward_fake(tangent: Tensor, scores: Tensor, *_: object) -> Tensor:
    return scores.new_empty((), dtype=_accumulate_dtype(scores))


register("masked_scale_loss", fake=_fake, setup_context=_setup_context, backward=_backward)
register("masked_scale_loss_backward", fake=_backward_fake, setup_context=_save_linear, backward=_backward_backward)
register(
    "masked_scale_loss_double_backward",
    fake=_double_backward_fake,
    setup_context=_save_linear,
    backward=_double_backward_backward,
)
