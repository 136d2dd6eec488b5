"""Random calls of deform_conv2d: shapes, groups, offset groups, options, with or without bias and mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NAMES = ("input", "offset", "weight", "bias", "mask")


@dataclass
class Case:
    """The tensors by name (a missing bias or mask is left out) and the options of one call."""

    tensors: dict[str, Tensor]
    options: dict[str, Any]

    def call(self, function: Any, tensors: dict[str, Tensor] | None = None) -> Tensor:
        return function(**(self.tensors if tensors is None else tensors), **self.options)

    def gradients(self, function: Any, grad: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The output and the gradient by each tensor, for the output's gradient (N, O, H, W, cut to size)."""
        leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in self.tensors.items()}
        output = self.call(function, leaves)
        grads = torch.autograd.grad(output, list(leaves.values()), grad.expand_as(output))
        return output.detach(), dict(zip(leaves, grads, strict=True))

    def to(self, *args: Any, **kwargs: Any) -> Case:
        return Case({name: tensor.to(*args, **kwargs) for name, tensor in self.tensors.items()}, self.options)


def _pick(generator: torch.Generator, *choices: Any) -> Any:
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def make_case(number: int, dtype: torch.dtype = torch.float64, *, largest: int = 12) -> Case:
    """Case `number`, always the same."""
    generator = torch.Generator().manual_seed(number)
    kernel = _pick(generator, (1, 1), (3, 3), (2, 3), (3, 1))
    options = {
        "stride": _pick(generator, (1, 1), (2, 1), (1, 3)),
        "padding": _pick(generator, (0, 0), (1, 1), (2, 0)),
        "dilation": _pick(generator, (1, 1), (2, 1), (1, 2)),
    }
    groups, parts = _pick(generator, (1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 4))
    channels = groups * parts * _pick(generator, 1, 2, 4, 5)
    filters = groups * _pick(generator, 1, 2, 5)
    batch = _pick(generator, 1, 2, 3)
    size = [int(torch.randint(6, largest + 1, (), generator=generator)) for _ in range(2)]
    out = [
        (size[i] + 2 * options["padding"][i] - options["dilation"][i] * (kernel[i] - 1) - 1) // options["stride"][i] + 1
        for i in range(2)
    ]
    taps = kernel[0] * kernel[1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    tensors = {
        "input": normal(batch, channels, *size),
        "offset": normal(batch, 2 * parts * taps, *out) * _pick(generator, 0.0, 0.7, 4.0),
        "weight": normal(filters, channels // groups, *kernel),
        "bias": normal(filters),
        "mask": normal(batch, parts * taps, *out).sigmoid(),
    }
    for name in _pick(generator, (), ("bias",), ("mask",), ("bias", "mask")):
        del tensors[name]
    return Case({name: tensor.to(dtype) for name, tensor in tensors.items()}, options)
