"""No op waits for the device or copies from the host, but those whose results have a size that depends on the data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from backends import CUDA, Backend
from host_copies import host_copies
from op_cases import CASES, Case
from torch import Tensor

import ldie_ext
from ldie_ext import nn
from ldie_ext.ops import PUBLIC


def test_every_public_function_has_a_case() -> None:
    functions = {name for name, value in PUBLIC.items() if inspect.isfunction(value)}
    forwards = {"nn.DeformConv2d", "nn.RoIAlign"}  # hand their arguments over to a function
    searches = {"plan_edits"}  # run ops, and give recipes
    assert {case.op for case in CASES} == functions - searches | {f"nn.{name}" for name in nn.__all__} - forwards


@contextmanager
def synchronisation_is_an_error() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def waits(backend: Backend, function: Callable[[], Any]) -> bool:
    """Whether a call synchronises: on a GPU by its own word, elsewhere by what it would copy."""
    if backend is not CUDA:
        return bool(host_copies(function))
    with synchronisation_is_an_error():
        try:
            function()
        except RuntimeError:
            return True
    return False


@pytest.mark.parametrize("case", CASES, ids=str)
def test_waits_only_where_it_says_so(backend: Backend, case: Case) -> None:
    inputs = case.inputs_on(backend.device)
    case.run(inputs)  # whatever is loaded or built at the first call; and that it works at all
    assert waits(backend, lambda: case.run(inputs)) == bool(case.waits)


class WaitsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * grad.sum().item()


def differentiated(x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(WaitsInBackward.apply(leaf), leaf, torch.ones_like(x))


PLANTED: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "truth": lambda x: bool(x.sum() > 0),
    "list": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "tensor of numbers": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "tensor from the host": lambda x: torch.zeros(2).to(x.device),
    "boolean index": lambda x: x[x > 0],
    "unique": lambda x: x.unique(),
    "in backward": differentiated,
    "in native code": lambda x: ldie_ext.rle_encode(x.view(1, 2, 2) > 0),
}


@pytest.mark.parametrize("name", PLANTED)
def test_sees_a_planted_copy(backend: Backend, name: str) -> None:
    x = torch.rand(4, device=backend.device)
    assert waits(backend, lambda: PLANTED[name](x))


def test_computing_is_no_copy(backend: Backend) -> None:
    x = torch.rand(4, device=backend.device)
    assert not waits(backend, lambda: torch.where(x > 0.5, x.double().cumsum(0), 2.0).to(torch.float32).clamp(min=0))
