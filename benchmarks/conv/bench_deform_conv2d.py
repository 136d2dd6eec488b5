"""deform_conv2d with masks, 3 x 3: the three layers of CenterNet's ResNet-18 neck, and a ResNet-50 stage."""

from __future__ import annotations

from functools import partial
from typing import Any

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

CENTERNET = [(512, 256, 16, 16), (256, 128, 32, 32), (128, 64, 64, 64)]  # channels, filters, map
LAYERS = [*((batch, *layer) for batch in (2, 8) for layer in CENTERNET), (2, 256, 256, 50, 84)]


def make_layer(device: torch.device, layer: tuple[int, ...]) -> dict[str, Tensor]:
    batch, channels, filters, height, width = layer
    tensors = {
        "input": torch.randn(batch, channels, height, width),
        "offset": torch.randn(batch, 18, height, width) * 2,
        "weight": torch.randn(filters, channels, 3, 3) / 48,
        "bias": torch.randn(filters),
        "mask": torch.rand(batch, 9, height, width),
    }
    return {name: tensor.to(device).requires_grad_() for name, tensor in tensors.items()}


def composed(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """grid_sample at the places of all taps, one above the other, then one matrix product."""
    batch, channels, height, width = input.shape
    y, x = torch.meshgrid(*(torch.arange(n, device=input.device) for n in (height, width)), indexing="ij")
    tap = torch.arange(9, device=input.device)[:, None, None]
    places = offset.reshape(batch, 9, 2, height, width)
    grid_y = 2 * (places[:, :, 0] + y + tap // 3 - 0.5) / height - 1
    grid_x = 2 * (places[:, :, 1] + x + tap % 3 - 0.5) / width - 1
    grid = torch.stack([grid_x, grid_y], dim=-1).reshape(batch, 9 * height, width, 2)
    samples = torch.nn.functional.grid_sample(input, grid, align_corners=False)
    columns = samples.reshape(batch, channels, 9, -1) * mask.reshape(batch, 1, 9, -1)
    output = weight.flatten(1) @ columns.flatten(1, 2) + bias[:, None]
    return output.reshape(batch, -1, height, width)


def call(function: Any, layer: dict[str, Tensor], backward: bool) -> Any:
    if backward:
        return lambda: function(**layer).sum().backward()
    return torch.no_grad()(lambda: function(**layer))


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: "x".join(map(str, layer)))
def bench_deform_conv2d(measure: harness.Measure, layer: tuple[int, ...], backward: bool) -> None:
    batch, channels, filters, height, width = layer
    tensors = make_layer(measure.device, layer)
    peer = harness.tv and partial(harness.tv.deform_conv2d, padding=1)
    output = torch.empty(batch, filters, height, width, device=measure.device)
    measure(
        f"{batch}x{channels}x{height}x{width}, {filters} filters, {'forward+backward' if backward else 'forward'}",
        ours=call(partial(ldie_ext.deform_conv2d, padding=1), tensors, backward),
        composed=call(composed, tensors, backward),
        peer=peer and call(peer, tensors, backward),
        **(harness.step_bytes(tensors, output, tensors) if backward else {"read_bytes": harness.bytes_of(tensors)}),
        flops=2 * 9 * channels * output.numel() * (3 if backward else 1),  # of the matrix products
        memory=True,
    )
