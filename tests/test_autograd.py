"""Autograd of the ops as a whole: never entered in vain, and right wherever PyTorch's transforms call them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import torch
from backends import CUDA, Backend
from op_checks import assert_same, random_boxes
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

import ldie_ext
from ldie_ext import _autograd, _library

BOXES = torch.tensor([[0.0, 0.0, 0.0, 6.0, 5.0], [1.0, 1.0, 1.0, 7.0, 7.0]])


def pooled(features: Tensor) -> Tensor:
    """A list of tensors goes in, and for the gradient one comes out."""
    return ldie_ext.roi_align(features, BOXES.to(features), 3, 0.8, 2, True)


def losses(logits: Tensor) -> Tensor:
    """Differentiable once, cast under autocast."""
    return ldie_ext.sigmoid_focal_loss(logits, (logits.detach() > 0.1).to(logits.dtype))


def overlaps(boxes: Tensor) -> Tensor:
    """Two tensors of which either may require a gradient."""
    return ldie_ext.box_iou(boxes, torch.tensor([[2.0, 2.0, 9.0, 9.0]]).to(boxes))


# vmap goes slice by slice through ops without a rule of their own, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

INPUTS: dict[Callable[[Tensor], Tensor], Callable[[], Tensor]] = {
    pooled: lambda: torch.randn(2, 3, 8, 8),
    losses: lambda: torch.randn(4, 5),
    overlaps: lambda: random_boxes(6, 10, 10),
}
every_function = pytest.mark.parametrize("function", INPUTS)


def input_of(function: Callable[[Tensor], Tensor], backend: Backend) -> Tensor:
    return INPUTS[function]().to(backend.device)


def gradient(function: Callable[[Tensor], Tensor], at: Tensor, **options: bool) -> Tensor:
    leaf = at.detach().clone().requires_grad_()
    return torch.autograd.grad(function(leaf).square().sum(), leaf, **options)[0]


@contextmanager
def entries() -> Iterator[list[str]]:
    """Collects the autograd kernels that this thread enters."""
    entered: list[str] = []

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and (frame.f_code.co_filename, frame.f_code.co_name) == (_autograd.__file__, "kernel"):
            entered.append(str(frame.f_locals["op"]))

    sys.setprofile(profile)
    try:
        yield entered
    finally:
        sys.setprofile(None)


@every_function
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_autograd_is_not_entered_in_vain(
    function: Callable[[Tensor], Tensor], context: Callable[[], Any], backend: Backend
) -> None:
    at = input_of(function, backend)
    with context(), entries() as entered:
        result = function(at.requires_grad_(context is not torch.enable_grad))
    assert not entered
    assert not result.requires_grad


@every_function
def test_autograd_is_entered_where_a_gradient_is_wanted(function: Callable[[Tensor], Tensor], backend: Backend) -> None:
    with entries() as entered:
        result = function(input_of(function, backend).requires_grad_())
    assert len(entered) == 1
    assert result.requires_grad


def test_backward_enters_autograd_only_to_be_differentiated(backend: Backend) -> None:
    if backend is CUDA:
        pytest.skip("a thread of its own runs the backward there, which the profiler does not see")
    at = input_of(pooled, backend).requires_grad_()
    result = pooled(at).square().sum()
    for create_graph in (False, True):
        with entries() as entered:
            torch.autograd.grad(result, at, retain_graph=True, create_graph=create_graph)
        assert len(entered) == create_graph


@every_function
def test_a_call_leaves_no_garbage(function: Callable[[Tensor], Tensor], backend: Backend) -> None:
    at = input_of(function, backend)

    def garbage_of_a_call() -> int:
        gradient(function, at)
        return gc.collect()

    gc.disable()
    try:
        # A collection's finalizers free what only the next one finds, so the first may count earlier tests' garbage.
        assert min(garbage_of_a_call() for _ in range(4)) == 0
    finally:
        gc.enable()


def test_op_called_directly_is_differentiable(backend: Backend) -> None:
    logits = input_of(losses, backend).requires_grad_()
    targets = (logits.detach() > 0.1).to(logits.dtype)
    (actual,) = torch.autograd.grad(backend.op("sigmoid_focal_loss")(logits, targets, 0.25, 2.0, 0).sum(), logits)
    (expected,) = torch.autograd.grad(ldie_ext.sigmoid_focal_loss(logits, targets).sum(), logits)
    assert_same(actual, expected)


def test_each_tensor_of_a_list_gets_its_gradient(backend: Backend) -> None:
    levels = [torch.randn(1, 2, size, size, device=backend.device) for size in (16, 8, 4)]
    boxes = random_boxes(20, 64, 64).to(backend.device)
    offsets = torch.tensor([0, 20], device=backend.device)

    def pool(*features: Tensor) -> Tensor:
        scales = [1 / 4, 1 / 8, 1 / 16]
        return _library.ops.roi_align(list(features), boxes, offsets, 2, 2, False, scales, 2, True, 16.0, 3, 2, 0)

    for chosen in (levels[0], levels[2]):  # the others require none
        chosen.requires_grad_()
    (first, last) = torch.autograd.grad(pool(*levels).square().sum(), [levels[0], levels[2]])
    every = torch.func.grad(lambda features: pool(*features).square().sum())([level.detach() for level in levels])
    assert_same((first, last), (every[0], every[2]))
    assert all(grad.abs().sum() > 0 for grad in every)


@every_function
def test_functorch_transforms(function: Callable[[Tensor], Tensor], backend: Backend) -> None:
    at = input_of(function, backend)
    expected = gradient(function, at)
    assert_same(torch.func.grad(lambda x: function(x).square().sum())(at), expected)
    with torch.no_grad():
        assert_same(torch.func.grad(lambda x: function(x).square().sum())(at), expected)
    if function is pooled:
        return  # PyTorch does not vmap over lists of tensors, which jacrev would
    jacobian = torch.func.jacrev(lambda x: function(x).square().sum(dim=-1))(at)
    torch.testing.assert_close(jacobian.sum(dim=list(range(jacobian.dim() - at.dim()))), expected)


def test_functorch_nests(backend: Backend) -> None:
    at = input_of(pooled, backend).double()

    def twice(features: Tensor) -> Tensor:
        return torch.func.grad(lambda x: pooled(x).pow(3).sum())(features).square().sum()

    leaf = at.clone().requires_grad_()
    (inner,) = torch.autograd.grad(pooled(leaf).pow(3).sum(), leaf, create_graph=True)
    (expected,) = torch.autograd.grad(inner.square().sum(), leaf)
    torch.testing.assert_close(torch.func.grad(twice)(at), expected)
    torch.testing.assert_close(gradient(lambda x: twice(x).sqrt(), at), expected)  # a transform within autograd


@pytest.mark.parametrize("function", [losses, overlaps])
def test_vmap(function: Callable[[Tensor], Tensor], backend: Backend) -> None:
    at = torch.stack([input_of(function, backend)] * 3)
    at[1] += 0.5
    each = torch.stack([function(x) for x in at])
    assert_same(torch.func.vmap(function)(at), each)
    expected = torch.stack([gradient(function, x) for x in at])
    assert_same(torch.func.vmap(torch.func.grad(lambda x: function(x).square().sum()))(at), expected)
    assert_same(torch.func.grad(lambda x: torch.func.vmap(function)(x).square().sum())(at), expected)
    assert_same(gradient(torch.func.vmap(function), at), expected)  # the batch hides that it requires a gradient


def test_vmap_over_what_requires_no_gradient_itself(backend: Backend) -> None:
    at, captured = input_of(overlaps, backend), random_boxes(4, 10, 10).to(backend.device).requires_grad_()
    many = torch.func.vmap(lambda x: ldie_ext.box_iou(x, captured))(at[:, None])
    (actual,) = torch.autograd.grad(many.square().sum(), captured)
    (expected,) = torch.autograd.grad(ldie_ext.box_iou(at, captured).square().sum(), captured)
    torch.testing.assert_close(actual, expected)


def test_torch_function_sees_autograd_as_it_was(backend: Backend) -> None:
    factor = torch.ones((), device=backend.device, requires_grad=True)

    class Multiply(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            return result * factor if str(func).endswith(("roi_align.default", "roi_align")) else result

    class Marked(Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = super().__torch_function__(func, types, args, kwargs)
            return result * factor if str(func).endswith(("roi_align.default", "roi_align")) else result

    at = input_of(pooled, backend)
    with Multiply():
        pooled(at).sum().backward()
    assert_same(factor.grad, pooled(at).sum())
    assert pooled(at.as_subclass(Marked)).requires_grad


@every_function
def test_transforms_of_the_compiler(function: Callable[[Tensor], Tensor], backend: Backend) -> None:
    at = input_of(function, backend)
    expected, expected_gradient = function(at), gradient(function, at)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_same(compiled(at), expected)
    torch.testing.assert_close(gradient(compiled, at), expected_gradient)
    for pre_dispatch in (False, True):
        assert_same(make_fx(function, pre_dispatch=pre_dispatch)(at)(at), expected)
    traced = make_fx(lambda x: gradient(function, x))(at)
    assert "_backward" in traced.code
    torch.testing.assert_close(traced(at), expected_gradient)


@every_function
@pytest.mark.parametrize("strict", [False, True])
def test_export(function: Callable[[Tensor], Tensor], strict: bool, backend: Backend) -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    at = input_of(function, backend)
    exported = torch.export.export(Model(), (at,), strict=strict)
    assert backend.namespace in str(exported.graph)
    assert_same(exported.module()(at), function(at))
    assert_same(gradient(exported.module(), at), gradient(function, at))
    assert_same(exported.run_decompositions().module()(at), function(at))


def test_fake_tensors(backend: Backend) -> None:
    with torch._subclasses.FakeTensorMode():
        at = torch.randn(4, 5, device=backend.device).requires_grad_()
        (grad,) = torch.autograd.grad(losses(at).sum(), at)
        assert grad.shape == at.shape
        assert losses(at.detach()).shape == at.shape


def test_autocast(backend: Backend) -> None:
    at = input_of(losses, backend).bfloat16()
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        assert losses(at).dtype == torch.float32
        actual = gradient(losses, at)
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual, gradient(losses, at.float()).bfloat16())
