"""Convolution at learned places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._layout import channels_last, make_empty
from ldie_ext._register import register

__all__ = ["deform_conv2d"]

Pair = int | tuple[int, int]


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
    """Deformable convolution: each tap of the kernel reads the input where an offset moves it, times a mask.

    ``output[q, o] = bias[o] + sum over taps t and channels c of weight[o, c, t] * mask[q, t] * x_c(place(q, t))`` with
    ``place(q, t) = q * stride - padding + t * dilation + offset[q, t]`` in pixels and x_c the input's channel c
    between pixels, bilinear, 0 outside the image. Version 1 without a mask, version 2 with one. The workspace is a
    fixed number of output positions (CPU 16 MiB, CUDA 128 MiB of samples), whatever the batch.

    Args:
        input: float [N, C, H, W]; channels-last memory is read as it is, other memory is rearranged first.
        offset: [N, 2 * offset_groups * kh * kw, H_out, W_out], (y, x) of each tap; the channels of the input share
            offsets in offset_groups equal parts.
        weight: [O, C / groups, kh, kw]; the number of groups follows from its shape.
        bias: [O].
        stride: one number, or vertical and horizontal.
        padding: likewise; zeros around the image.
        dilation: likewise; distance of the taps.
        mask: [N, offset_groups * kh * kw, H_out, W_out]; 1 everywhere if not given.

    Returns:
        [N, O, H_out, W_out] in the dtype of input, channels-last if the input is. Places that are NaN, infinite or
        outside the image sample 0 and pass no gradient on; a pixel of weight 0 has no part, even if it is NaN.

    Raises:
        RuntimeError: a shape, dtype or device does not fit.

    Differentiable: yes, in input, offset, weight, bias and mask; once. Deterministic: yes, with the gradients, as far
    as PyTorch's matrix products are. float16 and bfloat16 are summed in float32 (on CUDA the samples between are
    16-bit); under autocast the computation is float32, as torchvision's.

    Source: Dai et al., Deformable Convolutional Networks, ICCV 2017, eq. 2-4; Zhu et al., Deformable ConvNets v2, CVPR
    2019, eq. 1; results of torchvision.ops.deform_conv2d. Native code: csrc/conv/deform_conv2d.h

    Example:
        >>> image = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> half_right = torch.zeros(1, 2, 3, 3)
        >>> half_right[:, 1] = 0.5
        >>> deform_conv2d(image, half_right, torch.ones(1, 1, 1, 1))[0, 0]
        tensor([[0.5000, 1.5000, 1.0000],
                [3.5000, 4.5000, 2.5000],
                [6.5000, 7.5000, 4.0000]])
    """
    (stride_y, stride_x), (padding_y, padding_x) = as_pair(stride), as_pair(padding)
    dilation_y, dilation_x = as_pair(dilation)
    output = _library.ops.deform_conv2d(
        input, offset, weight, bias, mask, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x
    )
    return _laid_out_as(input, output).to(input.dtype)  # another dtype comes from autocast


def as_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """One number for both directions, or two numbers."""
    return (value, value) if isinstance(value, int) else value


def _laid_out_as(input: Tensor, images: Tensor) -> Tensor:
    """The images in the memory format of the input; native code gives channels-last ones."""
    return images if channels_last([input]) else images.contiguous()


def _fake(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, *options: int
) -> Tensor:
    return make_empty(input, (input.shape[0], weight.shape[0], *offset.shape[2:]), channels_last=True)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, offset, weight, _, mask, *ctx.options = inputs
    ctx.save_for_backward(image, offset, weight, mask)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    needs_input, needs_offset, needs_weight, needs_bias, needs_mask = ctx.needs_input_grad[:5]
    image = ctx.saved_tensors[0]
    needs = (needs_input, needs_offset or needs_mask, needs_weight)
    grad_input, grad_offset, grad_mask, grad_weight = _library.ops.deform_conv2d_backward(
        grad, *ctx.saved_tensors, *ctx.options, *needs
    )
    return (
        _laid_out_as(image, grad_input) if needs_input else None,
        grad_offset if needs_offset else None,
        grad_weight if needs_weight else None,
        grad.sum((0, 2, 3)) if needs_bias else None,
        grad_mask if needs_mask else None,
        *[None] * 6,
    )


def _backward_fake(
    grad: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *options: int
) -> tuple[Tensor, ...]:
    needs_input, needs_points, needs_weight = options[-3:]
    return (
        make_empty(input, input.shape, channels_last=True) if needs_input else input.new_empty(0),
        offset.new_empty(offset.shape if needs_points else 0),
        mask.new_empty(mask.shape) if needs_points and mask is not None else input.new_empty(0),
        weight.new_empty(weight.shape if needs_weight else 0),
    )


register("deform_conv2d", fake=_fake, setup_context=_setup_context, backward=_backward, autocast=torch.float32)
register("deform_conv2d_backward", fake=_backward_fake)
