"""Hostile calls of the operators: valid calls of which some arguments are changed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import public_calls
import torch
from torch import Tensor

from ldie_ext import RLE, Polygons

INF, NAN = float("inf"), float("nan")
#: Small, or beyond any memory.
INTEGERS = [0, 1, 2, 3, 5, 8, 33, -1, -2, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64]
NUMBERS = [0.0, -0.0, 0.5, 1.0, 3.0, -1.0, 1e-30, 1e-310, 1e30, 1e300, -1e300, INF, -INF, NAN]
DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.int8,
    torch.bool, torch.complex64,
]  # fmt: skip
OBJECTS: list[Any] = [None, [], (), {}, "x", "mean", b"", object(), True, [None], [[1, 2], [3]], np.zeros((3, 4))]


def changed_values(rng: random.Random, tensor: Tensor) -> Tensor:
    """Some elements, or all of them, are another number, as far as the dtype has it."""
    tensor = tensor.clone()
    if tensor.numel() == 0 or tensor.is_complex():
        return tensor
    flat = tensor.view(-1)
    chosen = torch.rand(len(flat)) < rng.choice([0.02, 0.3, 1.1])
    number = rng.choice(NUMBERS) if tensor.is_floating_point() else rng.choice([*INTEGERS[:-1], 2**31 - 1, 2**31])
    if not tensor.is_floating_point() and tensor.dtype != torch.bool:
        bounds = torch.iinfo(tensor.dtype)
        number = max(bounds.min, min(bounds.max, number))
    flat[chosen] = torch.tensor(number, dtype=tensor.dtype) if tensor.dtype != torch.bool else bool(number)
    return tensor


def changed_layout(rng: random.Random, tensor: Tensor) -> Tensor:
    """The same shape, or a permuted one, in other strides; expanded, misaligned, reversed, channels last."""
    kind = rng.randrange(5)
    if kind == 0 and tensor.dim() > 1:
        return tensor.transpose(*rng.sample(range(tensor.dim()), 2))
    if kind == 1:
        return torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:].view(tensor.shape)
    if kind == 2 and tensor.dim() > 0:
        return tensor.repeat_interleave(2, dim=-1)[..., ::2]
    if kind == 3 and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor[:1].expand(tensor.shape) if tensor.dim() > 0 and len(tensor) > 0 else tensor


def changed_shape(rng: random.Random, tensor: Tensor) -> Tensor:
    """A dimension more, less, longer, shorter or empty."""
    kind = rng.randrange(6)
    if kind == 0:
        return tensor[None]
    if kind == 1:
        return tensor.flatten()
    if tensor.dim() == 0:
        return tensor.expand(3)
    dimension = rng.randrange(tensor.dim())
    size = tensor.shape[dimension]
    if kind == 2:
        return tensor.narrow(dimension, 0, 0)
    if kind == 3 and size > 0:
        return tensor.select(dimension, 0)
    if kind == 4 and size > 0:
        return tensor.narrow(dimension, 0, rng.randrange(1, size + 1))
    return torch.cat([tensor, tensor], dimension)


def changed_tensor(rng: random.Random, tensor: Tensor) -> Any:
    kind = rng.randrange(12)
    if kind < 5:
        return changed_values(rng, tensor)
    if kind < 7:
        return changed_layout(rng, tensor)
    if kind < 9:
        return changed_shape(rng, tensor)
    if kind == 9:
        return tensor.to(rng.choice(DTYPES))
    if kind == 10:
        return rng.choice([tensor.to("meta"), tensor.to_sparse(), torch.tensor(1.0), tensor.numpy(), tensor.tolist()])
    return anything(rng)


def anything(rng: random.Random) -> Any:
    return rng.choice([*OBJECTS, *INTEGERS, *NUMBERS, torch.zeros(0), torch.rand(3, 4)])


def changed(rng: random.Random, value: Any) -> Any:
    """Another value of about the same kind, now and then of any."""
    if rng.random() < 0.08:
        return anything(rng)
    if isinstance(value, Tensor):
        return changed_tensor(rng, value)
    if isinstance(value, (RLE, Polygons)):
        parts = vars(value)
        name = rng.choice(list(parts))
        return type(value)(**{**parts, name: changed(rng, parts[name])})
    if isinstance(value, (list, tuple)) and value:
        items = list(value)
        place = rng.randrange(len(items))
        if rng.random() < 0.2:
            del items[place]
        else:
            items[place] = changed(rng, items[place])
        return type(value)(items) if type(value) in (list, tuple) else items
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(INTEGERS)
    if isinstance(value, float):
        return rng.choice(NUMBERS)
    if value is None:
        return rng.choice([None, torch.zeros(8, dtype=torch.bool), torch.ones(8, dtype=torch.int64), 8, 32, (24, 32)])
    return anything(rng)


def sums(result: Any) -> list[Tensor]:
    """What the results that have gradients add up to."""
    if isinstance(result, Tensor):
        return [result.sum()] if result.requires_grad else []
    parts = (
        vars(result).values() if hasattr(result, "__dict__") else result if isinstance(result, (list, tuple)) else []
    )
    return [total for part in parts for total in sums(part)]


class Hostile:
    """Changes one to three arguments of a valid call; now and then asks for gradients."""

    allowed = (RuntimeError, TypeError, ValueError)

    def __init__(self) -> None:
        self.calls = [(name, call) for name, calls in sorted(public_calls.recorded().items()) for call in calls]

    def make(self, rng: random.Random) -> tuple[str, Callable[[], Any]]:
        torch.manual_seed(rng.randrange(2**31))
        name, valid = rng.choice(self.calls)
        arguments = copy.copy(valid)
        shown = []
        try:
            for argument in rng.sample(list(valid), min(len(valid), rng.choice([1, 1, 2, 3]))):
                arguments[argument] = changed(rng, arguments[argument])
                shown.append(f"{argument}={describe(arguments[argument])}")
        except self.allowed as error:  # of RLE and Polygons, or of a change that PyTorch does not have
            return f"{name}'s arguments: {error}", lambda: None
        gradients = rng.random() < 0.3
        return f"{name}({', '.join(shown)}, ...)", lambda: self.call(name, arguments, gradients)

    def call(self, name: str, arguments: dict[str, Any], gradients: bool) -> None:
        if gradients:
            arguments = {argument: _leaf(value) for argument, value in arguments.items()}
        result = public_calls.FUNCTIONS[name](**arguments)
        if gradients and (totals := sums(result)):
            torch.stack([total.double() for total in totals]).sum().backward()


def _leaf(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point() and not value.is_sparse:
        return value.detach().requires_grad_()
    return value


def describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)}/{list(value.stride()) if value.layout == torch.strided else 'sparse'}"
    return repr(value)[:80]
