"""gated_conv: the mask convolution of a pyramid's levels, 3x3 and 7x7, forward and backward."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

CHANNELS = 64
#: Hypotheses, outputs, side of the window, size of the map.
SHAPES = [(40, 1, 7, 13, 21), (80, 1, 3, 25, 42), (80, 1, 3, 50, 84), (80, 1, 7, 50, 84), (80, 3, 3, 50, 84),
          (80, 3, 7, 50, 84)]  # fmt: skip

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def inputs(shape: tuple[int, ...], device: torch.device) -> Inputs:
    """Gates, features, the weight, and what features give to its taps."""
    count, outputs, side, *size = shape
    features, weight = torch.randn(1, CHANNELS, *size), torch.randn(outputs, CHANNELS, side, side)
    taps = weight.permute(0, 2, 3, 1).reshape(outputs * side * side, CHANNELS, 1, 1)
    responses = torch.nn.functional.conv2d(features, taps).unflatten(1, (outputs, side * side))
    return tuple(t.to(device) for t in (torch.rand(1, count, *size), features, weight, responses))


def tap_by_tap(gates: Tensor, responses: Tensor) -> Tensor:
    """A product and sum of all maps for each tap, in place."""
    height, width = gates.shape[2:]
    side = round(responses.shape[2] ** 0.5)
    output = gates.new_zeros(*gates.shape[:2], responses.shape[1], height, width)
    for k in range(side * side):
        dy, dx = k // side - side // 2, k % side - side // 2
        to_y, to_x = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
        from_y, from_x = slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))
        output[..., to_y, to_x].addcmul_(gates[:, :, None, from_y, from_x], responses[:, None, :, k, from_y, from_x])
    return output


def conv_of_multiplied(gates: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """The definition: features multiplied by each gate, and convolved."""
    multiplied = (gates[:, :, None] * features[:, None]).flatten(0, 1)
    output = torch.nn.functional.conv2d(multiplied, weight, padding=weight.shape[-1] // 2)
    return output.unflatten(0, gates.shape[:2])


def name(shape: tuple[int, ...]) -> str:
    count, outputs, side, height, width = shape
    return f"{count} maps of {height}x{width}, {side}x{side}, {outputs} outputs"


def flops(shape: tuple[int, ...]) -> int:
    count, outputs, side, height, width = shape
    return 2 * count * outputs * side**2 * height * width


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def bench_forward(measure: harness.Measure, shape: tuple[int, ...]) -> None:
    gates, features, weight, responses = inputs(shape, measure.device)
    expected = conv_of_multiplied(gates, features, weight)
    torch.testing.assert_close(ldie_ext.gated_conv(gates, responses), expected, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(tap_by_tap(gates, responses), expected, rtol=1e-3, atol=1e-2)
    measure(
        name(shape),
        ours=lambda: ldie_ext.gated_conv(gates, responses),
        composed=lambda: tap_by_tap(gates, responses),
        host_peer=lambda: conv_of_multiplied(gates, features, weight),
        read_bytes=harness.bytes_of(gates, responses),
        flops=flops(shape),
        memory=True,
    )


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
def bench_step(measure: harness.Measure, shape: tuple[int, ...]) -> None:
    """Forward and backward, from gates and responses; tap by tap autograd keeps no products either."""
    gates, _, _, responses = inputs(shape, measure.device)
    leaves = gates.requires_grad_(), responses.requires_grad_()
    grad = torch.randn(*gates.shape[:2], shape[1], *gates.shape[2:], device=measure.device)
    measure(
        f"step of {name(shape)}",
        ours=lambda: torch.autograd.grad(ldie_ext.gated_conv(*leaves), leaves, grad),
        composed=lambda: torch.autograd.grad(tap_by_tap(*leaves), leaves, grad),
        flops=3 * flops(shape),
        memory=True,
        **harness.step_bytes((gates, responses), grad, (gates, responses)),
    )
