"""sigmoid_focal_loss against the plain reference in float64, on every backend."""

from __future__ import annotations

import pytest
import reference.losses as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
PARAMETERS = [(0.25, 2.0), (-1.0, 2.0), (0.75, 0.0), (0.25, 1.0), (0.5, 1.5)]


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits of all sizes with hard and soft targets."""
    targets = torch.rand(shape).mul(3).sub(1).clamp(0, 1)
    return (torch.randn(shape) * 4).to(dtype), targets.to(dtype)


def loss_and_gradient(
    inputs: Tensor, targets: Tensor, alpha: float, gamma: float, reduction: str
) -> tuple[Tensor, Tensor]:
    leaf = inputs.detach().requires_grad_()
    loss = ldie_ext.sigmoid_focal_loss(leaf, targets, alpha, gamma, reduction)
    loss.backward(torch.ones_like(loss) * 0.5)
    return loss.detach().cpu(), leaf.grad.cpu()


def expected(inputs: Tensor, targets: Tensor, alpha: float, gamma: float, reduction: str) -> tuple[Tensor, Tensor]:
    leaf = inputs.double().requires_grad_()
    loss = reference.sigmoid_focal_loss(leaf, targets.double(), alpha, gamma, reduction)
    loss.backward(torch.ones_like(loss) * 0.5)
    return loss.detach().to(inputs.dtype), leaf.grad.to(inputs.dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("alpha", "gamma"), PARAMETERS)
def test_matches_reference(backend: Backend, alpha: float, gamma: float, reduction: str) -> None:
    for shape in ((1,), (7, 5), (3, 1031), ()):
        inputs, targets = sample(*shape)
        actual = loss_and_gradient(inputs.to(backend.device), targets.to(backend.device), alpha, gamma, reduction)
        torch.testing.assert_close(actual, expected(inputs, targets, alpha, gamma, reduction), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(backend: Backend, dtype: torch.dtype, reduction: str) -> None:
    inputs, targets = sample(5, 77, dtype=dtype)
    actual = loss_and_gradient(inputs.to(backend.device), targets.to(backend.device), 0.25, 2.0, reduction)
    rtol = {torch.float32: 3e-6, torch.float64: 1e-12, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(actual, expected(inputs, targets, 0.25, 2.0, reduction), rtol=rtol, atol=rtol / 3)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_huge_logits(backend: Backend, dtype: torch.dtype, gamma: float) -> None:
    """A right answer costs nothing and a wrong one its logit, without an overflow on the way."""
    huge = 3e4 if dtype == torch.float16 else 1e30
    inputs = torch.tensor([huge, -huge, huge, -huge], dtype=dtype, device=backend.device)
    targets = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype, device=backend.device)
    loss, gradient = loss_and_gradient(inputs, targets, -1.0, gamma, "none")
    zero, cost = torch.zeros(2, dtype=dtype), torch.full((2,), huge, dtype=dtype)
    torch.testing.assert_close(loss, torch.cat([zero, cost]), rtol=1e-6, atol=1e-15)
    torch.testing.assert_close(gradient, torch.tensor([0, 0, 0.5, -0.5], dtype=dtype), rtol=1e-6, atol=1e-15)


def test_small_losses_keep_their_precision(backend: Backend) -> None:
    """Where composed forms cancel: relative error against the closed form of log(1 + e^x) p^2 for t = 0."""
    inputs = torch.linspace(-25, 30, 1001)
    wide = inputs.double()
    closed = torch.log1p(wide.exp()) * (wide.exp() / (1 + wide.exp())) ** 2
    loss = ldie_ext.sigmoid_focal_loss(inputs.to(backend.device), torch.zeros_like(inputs).to(backend.device), -1)
    torch.testing.assert_close(loss.cpu().double(), closed, rtol=3e-6, atol=0)


def test_empty_and_nan(backend: Backend) -> None:
    empty = torch.zeros(0, 4, device=backend.device)
    assert ldie_ext.sigmoid_focal_loss(empty, empty).shape == (0, 4)
    assert ldie_ext.sigmoid_focal_loss(empty, empty, reduction="sum") == 0
    assert ldie_ext.sigmoid_focal_loss(empty, empty, reduction="mean").isnan()
    assert loss_and_gradient(empty, empty, 0.25, 2.0, "sum")[1].shape == (0, 4)
    inputs = torch.tensor([float("nan"), 1.0], device=backend.device)
    for gamma in (2.0, 1.5):
        loss, gradient = loss_and_gradient(inputs, torch.ones_like(inputs), 0.25, gamma, "none")
        assert loss.isnan().tolist() == gradient.isnan().tolist() == [True, False]
    assert ldie_ext.sigmoid_focal_loss(inputs, torch.ones_like(inputs), reduction="sum").isnan()


@pytest.mark.parametrize("dtype", FLOATS)
def test_non_contiguous_and_misaligned(backend: Backend, dtype: torch.dtype) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(6, 50, dtype=dtype))
    for reduction in ("none", "sum"):
        whole = loss_and_gradient(inputs, targets, 0.25, 2.0, reduction)
        strided = inputs.t().contiguous().t(), targets.repeat_interleave(2, dim=1)[:, ::2]
        assert not strided[0].is_contiguous()
        assert_same(loss_and_gradient(*strided, 0.25, 2.0, reduction), whole)
    shifted = inputs.flatten()[1:], targets.flatten()[1:]  # starts off a 16-byte boundary
    whole = loss_and_gradient(inputs, targets, 0.25, 2.0, "none")
    assert_same(loss_and_gradient(*shifted, 0.25, 2.0, "none"), (whole[0].flatten()[1:], whole[1].flatten()[1:]))


def test_gradient_of_every_element_and_expanded(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(4, 33))
    weights = torch.randn(4, 33, device=backend.device)
    leaf = inputs.clone().requires_grad_()
    (ldie_ext.sigmoid_focal_loss(leaf, targets) * weights).sum().backward()
    one, *_ = torch.autograd.grad(ldie_ext.sigmoid_focal_loss(leaf, targets).sum(), leaf)
    torch.testing.assert_close(leaf.grad, one * weights)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_gradcheck(backend: Backend, gamma: float, reduction: str) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(3, 4, dtype=torch.float64))
    inputs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: ldie_ext.sigmoid_focal_loss(x, targets, 0.3, gamma, reduction), (inputs,), fast_mode=True
    )


def test_backward_twice_leaves_saved_tensors_alone(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(40))
    before = inputs.clone(), targets.clone()
    loss = ldie_ext.sigmoid_focal_loss(inputs.requires_grad_(), targets, reduction="sum")
    first, *_ = torch.autograd.grad(loss * 3, inputs, retain_graph=True)
    second, *_ = torch.autograd.grad(loss * 3, inputs)
    assert_same(second, first)
    assert_same((inputs.detach(), targets), before)


def test_refused_gradients(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device).requires_grad_() for tensor in sample(4))
    with pytest.raises(RuntimeError, match="not differentiable in targets"):
        ldie_ext.sigmoid_focal_loss(inputs, targets, reduction="sum").backward()
    loss = ldie_ext.sigmoid_focal_loss(inputs, targets.detach(), reduction="sum")
    gradient, *_ = torch.autograd.grad(loss, inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="sigmoid_focal_loss_backward is not differentiable"):
        gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(4, 2))
    call = ldie_ext.sigmoid_focal_loss
    with pytest.raises(RuntimeError, match=r"targets must have the shape of inputs, \[4, 2\] float32, got \[3, 2\]"):
        call(inputs, targets[1:])
    with pytest.raises(RuntimeError, match="inputs must be float32"):
        call(inputs.long(), targets)
    with pytest.raises(ValueError, match="reduction must be one of"):
        call(inputs, targets, reduction="max")
    with pytest.raises(ValueError, match="gamma must be at least 0, got -1"):
        call(inputs, targets, gamma=-1)
    backward = backend.op("sigmoid_focal_loss_backward")
    with pytest.raises(RuntimeError, match=r"grad must have shape \[\], got \[4, 2\]"):
        backward(inputs, inputs, targets, 0.25, 2.0, 1)
    with pytest.raises(RuntimeError, match="grad must have the shape of inputs"):
        backward(inputs.sum(), inputs, targets, 0.25, 2.0, 0)


def test_other_dtypes_of_targets_are_converted(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(64))
    hard = targets > 0.5
    expected_loss = ldie_ext.sigmoid_focal_loss(inputs, hard.float())
    for dtype in (torch.bool, torch.int64, torch.float64, torch.bfloat16):
        assert_same(ldie_ext.sigmoid_focal_loss(inputs, hard.to(dtype)), expected_loss)


def test_autocast_computes_in_float32(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(64, dtype=torch.bfloat16))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = ldie_ext.sigmoid_focal_loss(inputs, targets)
    assert_same(loss, ldie_ext.sigmoid_focal_loss(inputs.float(), targets.float()))


def test_dispatcher_contract(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(6, 5))
    for code, grad in ((0, torch.ones_like(inputs)), (1, inputs.sum()), (2, inputs.sum())):
        leaf = inputs.detach().clone().requires_grad_()
        torch.library.opcheck(backend.op("sigmoid_focal_loss"), (leaf, targets, 0.25, 2.0, code))
        torch.library.opcheck(backend.op("sigmoid_focal_loss_backward"), (grad, inputs, targets, 0.25, 2.0, code))


def test_compiles(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(6, 5))
    assert_compiles(lambda x: ldie_ext.sigmoid_focal_loss(x, targets), inputs)
    function = torch.compile(ldie_ext.sigmoid_focal_loss, fullgraph=True, backend="aot_eager")
    leaf = inputs.requires_grad_()
    compiled, *_ = torch.autograd.grad(function(leaf, targets, reduction="mean"), leaf)
    eager, *_ = torch.autograd.grad(ldie_ext.sigmoid_focal_loss(leaf, targets, reduction="mean"), leaf)
    assert_same(compiled, eager)


def test_threads_agree() -> None:
    inputs, targets = sample(300, 1001)
    for reduction in ("none", "sum"):
        assert_threads_agree(lambda reduction=reduction: loss_and_gradient(inputs, targets, 0.25, 2.0, reduction))
