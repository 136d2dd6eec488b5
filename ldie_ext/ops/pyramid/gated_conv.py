"""The convolution of features that each hypothesis gates, split into what they share and what is their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["gated_conv"]


def gated_conv(gates: Tensor, responses: Tensor) -> Tensor:
    """The convolution of one image's features multiplied by the gate of each hypothesis, without these products.

    ``output[b, n, o, p] = sum over taps k of gates[b, n, p + k] * responses[b, o, k, p + k]``, k from -(K // 2) to
    K // 2 in y and x, 0 outside of the map. A convolution is linear: with ``responses[b, o, k] = W[o, :, k] .
    features[b]``, a 1x1 convolution that is computed once an image, this is ``conv2d(gates[b, n] * features[b], W)``
    with padding K // 2. Of A hypotheses with C channels it takes the memory of A * O maps in place of A * C, and 1 / C
    of the multiplications.

    Args:
        gates: float [B, A, h, w], a map of each hypothesis.
        responses: [B, O, K * K, h, w] in the dtype of gates, K odd; taps row by row, as in
            ``W.permute(0, 2, 3, 1).reshape(O * K * K, C, 1, 1)``, the weight that makes them.

    Returns:
        [B, A, O, h, w] in the dtype of gates; float16 and bfloat16 are summed in float32. A NaN or an infinity reaches
        the cells whose window it is in, and no other.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or K is even.

    No memory beyond the output, nor beyond the gradients in the backward, but on the CPU a copy of some rows for each
    thread (half a MiB for one output and K = 7).

    Differentiable: once, in gates and responses; a second derivative raises. Under autocast the computation is float32.
    Deterministic: yes, with the gradients: every sum has its order.

    Source: linearity; the mask convolution of multiplied features. Native code: csrc/pyramid/gated_conv.h

    Example:
        >>> features, weight = torch.ones(1, 4, 3, 3), torch.full((1, 4, 3, 3), 0.25)
        >>> taps = weight.permute(0, 2, 3, 1).reshape(9, 4, 1, 1)
        >>> responses = torch.nn.functional.conv2d(features, taps).unflatten(1, (1, 9))
        >>> gates = torch.eye(3).expand(1, 1, 3, 3)
        >>> gated_conv(gates, responses)[0, 0, 0]
        tensor([[2., 2., 1.],
                [2., 3., 2.],
                [1., 2., 2.]])
    """
    return _library.ops.gated_conv(gates, responses)


def _fake(gates: Tensor, responses: Tensor) -> Tensor:
    batch, count, height, width = gates.shape
    return gates.new_empty((batch, count, responses.shape[1], height, width))


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    needs_gates, needs_responses = ctx.needs_input_grad[:2]
    of_gates, of_responses = _library.ops.gated_conv_backward(grad, *ctx.saved_tensors, needs_gates, needs_responses)
    return of_gates if needs_gates else None, of_responses if needs_responses else None


def _backward_fake(
    grad: Tensor, gates: Tensor, responses: Tensor, needs_gates: bool, needs_responses: bool
) -> tuple[Tensor, Tensor]:
    return (
        gates.new_empty(gates.shape if needs_gates else 0),
        gates.new_empty(responses.shape if needs_responses else 0),
    )


register("gated_conv", fake=_fake, setup_context=_setup_context, backward=_backward, autocast=torch.float32)
register("gated_conv_backward", fake=_backward_fake)
