"""dice_loss against the plain reference in float64, on every backend."""

from __future__ import annotations

import pytest
import reference.losses as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

Smooth = float | tuple[float, float]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12, torch.float16: 1e-3, torch.bfloat16: 8e-3}
REDUCTIONS = ["none", "mean", "sum"]


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits, and masks with a few soft cells."""
    return (torch.randn(shape) * 3).to(dtype), torch.rand(shape).mul(4).sub(2).clamp(0, 1).to(dtype)


def loss_and_gradient(inputs: Tensor, targets: Tensor, smooth: Smooth, reduction: str) -> tuple[Tensor, Tensor]:
    leaf = inputs.detach().requires_grad_()
    loss = ldie_ext.dice_loss(leaf, targets, smooth=smooth, reduction=reduction)
    weights = torch.arange(loss.numel(), device=loss.device).add(0.5).to(loss.dtype).view(loss.shape)
    gradient, *_ = torch.autograd.grad(loss, leaf, weights)
    return loss.detach().cpu(), gradient.cpu()


def expected(inputs: Tensor, targets: Tensor, smooth: Smooth, reduction: str) -> tuple[Tensor, Tensor]:
    leaf = inputs.double().requires_grad_()
    loss = reference.dice_loss(leaf, targets.double(), smooth=smooth, reduction=reduction)
    weights = torch.arange(loss.numel()).add(0.5).double().view(loss.shape)
    gradient, *_ = torch.autograd.grad(loss, leaf, weights)
    return loss.detach().to(inputs.dtype), gradient.to(inputs.dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smooth", [1.0, 0.25, (0.0, 0.002)])
def test_matches_reference(backend: Backend, smooth: Smooth, reduction: str) -> None:
    for shape in ((3, 28, 28), (1, 5000), (9, 7), (5, 1), (70, 2, 3)):
        inputs, targets = sample(*shape)
        actual = loss_and_gradient(inputs.to(backend.device), targets.to(backend.device), smooth, reduction)
        torch.testing.assert_close(actual, expected(inputs, targets, smooth, reduction), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(backend: Backend, dtype: torch.dtype) -> None:
    inputs, targets = sample(4, 9, 16, dtype=dtype)
    actual = loss_and_gradient(inputs.to(backend.device), targets.to(backend.device), 1.0, "none")
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(actual, expected(inputs, targets, 1.0, "none"), rtol=tolerance, atol=tolerance / 10)


def test_half_precision_sums_do_not_overflow(backend: Backend) -> None:
    """The sums of a large mask exceed what fp16 holds."""
    inputs = torch.full((1, 90_000), 9.0, dtype=torch.float16, device=backend.device)
    assert ldie_ext.dice_loss(inputs, torch.ones_like(inputs)) < 1e-3


def test_perfect_and_missed_masks(backend: Backend) -> None:
    inputs = torch.tensor([[1e30, -1e30], [-1e30, 1e30], [-1e30, -1e30]], device=backend.device)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], device=backend.device)
    loss, gradient = loss_and_gradient(inputs, targets, 1.0, "none")
    torch.testing.assert_close(loss, torch.tensor([0, 1 - 1 / 3, 0]))
    assert not gradient.any()


def test_empty_and_nan(backend: Backend) -> None:
    no_rows, no_cells = torch.zeros(0, 4, device=backend.device), torch.zeros(3, 0, device=backend.device)
    for reduction in ("mean", "sum"):
        assert ldie_ext.dice_loss(no_rows, no_rows, reduction=reduction) == 0
        assert ldie_ext.dice_loss(no_cells, no_cells, reduction=reduction) == 0
    assert ldie_ext.dice_loss(no_rows, no_rows, reduction="none").shape == (0,)
    assert ldie_ext.dice_loss(no_cells, no_cells, reduction="none").tolist() == [0, 0, 0]
    assert loss_and_gradient(no_rows, no_rows, 1.0, "mean")[1].shape == (0, 4)
    inputs = torch.tensor([[float("nan"), 1.0], [2.0, 1.0]], device=backend.device)
    loss, gradient = loss_and_gradient(inputs, torch.ones_like(inputs), 1.0, "none")
    assert loss.isnan().tolist() == [True, False]
    assert gradient.isnan().all(1).tolist() == [True, False]
    zeros = torch.zeros(1, 2, device=backend.device)
    assert ldie_ext.dice_loss(zeros - 1e30, zeros, smooth=0.0).isnan()


def test_non_contiguous_and_misaligned(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(4, 6, 8))
    whole = loss_and_gradient(inputs, targets, 1.0, "none")
    strided = inputs.transpose(0, 2).contiguous().transpose(0, 2), targets.repeat_interleave(2, dim=2)[..., ::2]
    assert not strided[0].is_contiguous()
    assert_same(loss_and_gradient(*strided, 1.0, "none"), whole)
    shifted = torch.cat([inputs.flatten()[:1], inputs.flatten()])[1:].view(4, 6, 8)
    torch.testing.assert_close(loss_and_gradient(shifted, targets, 1.0, "none"), whole)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradcheck(backend: Backend, reduction: str) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(3, 4, dtype=torch.float64))
    inputs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: ldie_ext.dice_loss(x, targets, reduction=reduction), (inputs,), fast_mode=True
    )


def test_backward_twice_leaves_saved_tensors_alone(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(3, 40))
    before = inputs.clone(), targets.clone()
    loss = ldie_ext.dice_loss(inputs.requires_grad_(), targets)
    first, *_ = torch.autograd.grad(loss * 3, inputs, retain_graph=True)
    assert_same(torch.autograd.grad(loss * 3, inputs)[0], first)
    assert_same((inputs.detach(), targets), before)


def test_refused_gradients(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device).requires_grad_() for tensor in sample(3, 4))
    with pytest.raises(RuntimeError, match="not differentiable in targets"):
        ldie_ext.dice_loss(inputs, targets).backward()
    gradient, *_ = torch.autograd.grad(ldie_ext.dice_loss(inputs, targets.detach()), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="dice_loss_backward is not differentiable"):
        gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(4, 2))
    call = ldie_ext.dice_loss
    with pytest.raises(RuntimeError, match=r"targets must have the shape of inputs, \[4, 2\] float32, got \[3, 2\]"):
        call(inputs, targets[1:])
    with pytest.raises(RuntimeError, match=r"inputs must have shape \[N, ...\], got \[\]"):
        call(inputs.sum(), targets.sum())
    with pytest.raises(RuntimeError, match="inputs must be float32"):
        call(inputs.long(), targets)
    with pytest.raises(ValueError, match="reduction must be one of"):
        call(inputs, targets, reduction="max")
    with pytest.raises(ValueError, match="smooth must be at least 0, got -1"):
        call(inputs, targets, smooth=-1)
    with pytest.raises(ValueError, match=r"smooth must be at least 0, got \(0, -1\)"):
        call(inputs, targets, smooth=(0, -1))
    with pytest.raises(
        ValueError, match=r"smooth must be a number or a pair \(numerator, denominator\), got \(1, 2, 3\)"
    ):
        call(inputs, targets, smooth=(1, 2, 3))
    with pytest.raises(TypeError, match=r"smooth must be float \| tuple\[float, float\], got None"):
        call(inputs, targets, smooth=None)
    fractions = torch.ones(4, 2, dtype=torch.float64, device=backend.device)
    backward = backend.op("dice_loss_backward")
    with pytest.raises(RuntimeError, match=r"grad must have shape \[N\]"):
        backward(inputs.sum(), inputs, targets, fractions, 0)
    with pytest.raises(RuntimeError, match=r"grad must have shape \[\]"):
        backward(inputs, inputs, targets, fractions, 1)
    with pytest.raises(RuntimeError, match="fractions must be float64"):
        backward(inputs.sum(), inputs, targets, fractions.float(), 1)


def test_other_dtypes_of_targets_are_converted(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(4, 16))
    hard = targets > 0.5
    for dtype in (torch.bool, torch.uint8, torch.float64):
        assert_same(ldie_ext.dice_loss(inputs, hard.to(dtype)), ldie_ext.dice_loss(inputs, hard.float()))


def test_autocast_computes_in_float32(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(3, 64, dtype=torch.bfloat16))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = ldie_ext.dice_loss(inputs, targets)
    assert_same(loss, ldie_ext.dice_loss(inputs.float(), targets.float()))


def test_dispatcher_contract(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(6, 5))
    fractions = torch.rand(6, 2, dtype=torch.float64, device=backend.device)
    for code, grad in ((0, inputs.sum(1)), (1, inputs.sum()), (2, inputs.sum())):
        torch.library.opcheck(backend.op("dice_loss"), (inputs.clone().requires_grad_(), targets, 1.0, 0.5, code))
        torch.library.opcheck(backend.op("dice_loss_backward"), (grad, inputs, targets, fractions, code))


def test_compiles(backend: Backend) -> None:
    inputs, targets = (tensor.to(backend.device) for tensor in sample(6, 5))
    assert_compiles(lambda x: ldie_ext.dice_loss(x, targets), inputs)
    function = torch.compile(ldie_ext.dice_loss, fullgraph=True, backend="aot_eager")
    leaf = inputs.requires_grad_()
    compiled, *_ = torch.autograd.grad(function(leaf, targets), leaf)
    assert_same(compiled, torch.autograd.grad(ldie_ext.dice_loss(leaf, targets), leaf)[0])


def test_threads_agree() -> None:
    for shape in ((3, 200_001), (300, 28, 28)):
        inputs, targets = sample(*shape)
        assert_threads_agree(lambda pair=(inputs, targets): loss_and_gradient(*pair, 1.0, "mean"))
