"""center_focal_loss against the plain reference in float64, on every backend."""

from __future__ import annotations

import pytest
import reference.losses as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 1e-2}
EXPONENTS = [(2.0, 4.0), (1.5, 3.0), (0.0, 0.0), (2.0, 0.5)]


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits, and a heatmap with empty cells, slopes and a few peaks."""
    heatmap = torch.rand(shape).mul(1.2).sub(0.5).clamp(min=0)
    heatmap[torch.rand(shape) < 0.02] = 1
    return (torch.randn(shape) * 3 - 2).to(dtype), heatmap.to(dtype)


def loss_and_gradient(logits: Tensor, heatmap: Tensor, alpha: float = 2.0, beta: float = 4.0) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    loss = ldie_ext.center_focal_loss(leaf, heatmap, alpha=alpha, beta=beta)
    gradient, *_ = torch.autograd.grad(loss * 0.5, leaf)
    return loss.detach().cpu(), gradient.cpu()


def expected(logits: Tensor, heatmap: Tensor, alpha: float = 2.0, beta: float = 4.0) -> tuple[Tensor, Tensor]:
    leaf = logits.double().requires_grad_()
    loss = reference.center_focal_loss(leaf, heatmap.double(), alpha=alpha, beta=beta)
    gradient, *_ = torch.autograd.grad(loss * 0.5, leaf)
    return loss.detach().to(logits.dtype), gradient.to(logits.dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize(("alpha", "beta"), EXPONENTS)
def test_matches_reference(backend: Backend, alpha: float, beta: float) -> None:
    for shape in ((2, 3, 8, 12), (1,), (3, 1031), (2, 3, 7, 5)):
        logits, heatmap = sample(*shape)
        actual = loss_and_gradient(logits.to(backend.device), heatmap.to(backend.device), alpha, beta)
        torch.testing.assert_close(actual, expected(logits, heatmap, alpha, beta), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(backend: Backend, dtype: torch.dtype) -> None:
    logits, heatmap = sample(2, 2, 9, 16, dtype=dtype)
    for heat in (heatmap, heatmap.float()) if dtype.itemsize == 2 else (heatmap,):
        actual = loss_and_gradient(logits.to(backend.device), heat.to(backend.device))
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(actual, expected(logits, heat), rtol=tolerance, atol=tolerance / 10)


def test_number_of_peaks_divides(backend: Backend) -> None:
    logits = torch.randn(2, 1, 6, 7, device=backend.device)
    for peaks in (0, 1, 5):
        heatmap = torch.full_like(logits, 0.25)
        heatmap.view(-1)[:peaks] = 1
        loss, gradient = loss_and_gradient(logits, heatmap)
        torch.testing.assert_close((loss, gradient), expected(logits.cpu(), heatmap.cpu()), rtol=1e-5, atol=1e-6)
        _, counted = backend.op("center_focal_loss")(logits, heatmap, 2.0, 4.0)
        assert counted == peaks


@pytest.mark.parametrize("dtype", FLOATS)
def test_huge_logits(backend: Backend, dtype: torch.dtype) -> None:
    """A missed peak and a false alarm cost their logit and keep their gradient; right answers cost nothing."""
    huge = 2e4 if dtype == torch.float16 else 1e30
    heatmap = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=dtype, device=backend.device)
    logits = torch.tensor([huge, -huge, huge, -huge], dtype=dtype, device=backend.device)
    loss, gradient = loss_and_gradient(logits, heatmap)
    torch.testing.assert_close(loss, torch.tensor(huge, dtype=dtype), rtol=1e-6, atol=0)  # two costs over two peaks
    assert_same(gradient, torch.tensor([0, -0.25, 0.25, 0], dtype=dtype))


def test_empty_and_nan(backend: Backend) -> None:
    empty = torch.zeros(0, 3, 4, 4, device=backend.device)
    loss, gradient = loss_and_gradient(empty, empty)
    assert loss == 0
    assert gradient.shape == empty.shape
    logits = torch.tensor([float("nan"), 1.0], device=backend.device)
    loss, gradient = loss_and_gradient(logits, torch.zeros_like(logits))
    assert loss.isnan()
    assert gradient.isnan().tolist() == [True, False]
    assert ldie_ext.center_focal_loss(torch.zeros_like(logits), logits).isnan()


def test_non_contiguous_and_misaligned(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(2, 3, 8, 12))
    whole = loss_and_gradient(logits, heatmap)
    strided = logits.contiguous(memory_format=torch.channels_last), heatmap.repeat_interleave(2, dim=3)[..., ::2]
    assert not strided[0].is_contiguous()
    assert_same(loss_and_gradient(*strided), whole)
    shifted = torch.cat([logits.flatten()[:1], logits.flatten()])[1:], heatmap.flatten()
    torch.testing.assert_close(loss_and_gradient(*shifted), (whole[0], whole[1].flatten()))


@pytest.mark.parametrize(("alpha", "beta"), EXPONENTS)
def test_gradcheck(backend: Backend, alpha: float, beta: float) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(3, 4, dtype=torch.float64))
    heatmap.view(-1)[0] = 1
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: ldie_ext.center_focal_loss(x, heatmap, alpha=alpha, beta=beta), (logits,), fast_mode=True
    )


def test_backward_twice_leaves_saved_tensors_alone(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(40))
    before = logits.clone(), heatmap.clone()
    loss = ldie_ext.center_focal_loss(logits.requires_grad_(), heatmap)
    first, *_ = torch.autograd.grad(loss * 3, logits, retain_graph=True)
    assert_same(torch.autograd.grad(loss * 3, logits)[0], first)
    assert_same((logits.detach(), heatmap), before)


def test_refused_gradients(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device).requires_grad_() for tensor in sample(4))
    with pytest.raises(RuntimeError, match="not differentiable in heatmap"):
        ldie_ext.center_focal_loss(logits, heatmap).backward()
    loss = ldie_ext.center_focal_loss(logits, heatmap.detach())
    gradient, *_ = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="center_focal_loss_backward is not differentiable"):
        gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(4, 2))
    call = ldie_ext.center_focal_loss
    with pytest.raises(RuntimeError, match=r"heatmap must have the shape of logits, \[4, 2\] float32, got \[3, 2\]"):
        call(logits, heatmap[1:])
    with pytest.raises(RuntimeError, match="logits must be float32"):
        call(logits.long(), heatmap)
    with pytest.raises(RuntimeError, match="heatmap must be float32, got"):
        call(logits, heatmap.double())
    with pytest.raises(RuntimeError, match="heatmap must be float16, got"):
        call(logits.half(), heatmap.bfloat16())
    with pytest.raises(ValueError, match="alpha and beta must be at least 0, got -1"):
        call(logits, heatmap, alpha=-1)
    peaks = torch.ones((), dtype=torch.int64, device=backend.device)
    backward = backend.op("center_focal_loss_backward")
    with pytest.raises(RuntimeError, match=r"grad must have shape \[\]"):
        backward(logits, logits, heatmap, peaks, 2.0, 4.0)
    with pytest.raises(RuntimeError, match="num_peaks must be int64"):
        backward(logits.sum(), logits, heatmap, logits.sum(), 2.0, 4.0)


def test_autocast_computes_in_float32(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(64, dtype=torch.bfloat16))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = ldie_ext.center_focal_loss(logits, heatmap)
    assert_same(loss, ldie_ext.center_focal_loss(logits.float(), heatmap.float()))


def test_dispatcher_contract(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(6, 5))
    peaks = (heatmap == 1).sum()
    torch.library.opcheck(backend.op("center_focal_loss"), (logits.clone().requires_grad_(), heatmap, 2.0, 4.0))
    torch.library.opcheck(backend.op("center_focal_loss_backward"), (logits.sum(), logits, heatmap, peaks, 2.0, 4.0))


def test_compiles(backend: Backend) -> None:
    logits, heatmap = (tensor.to(backend.device) for tensor in sample(6, 5))
    assert_compiles(lambda x: ldie_ext.center_focal_loss(x, heatmap), logits)
    function = torch.compile(ldie_ext.center_focal_loss, fullgraph=True, backend="aot_eager")
    leaf = logits.requires_grad_()
    compiled, *_ = torch.autograd.grad(function(leaf, heatmap), leaf)
    assert_same(compiled, torch.autograd.grad(ldie_ext.center_focal_loss(leaf, heatmap), leaf)[0])


def test_threads_agree() -> None:
    logits, heatmap = sample(4, 8, 100, 101)
    assert_threads_agree(lambda: loss_and_gradient(logits, heatmap))
