"""spatial_softmax_cross_entropy against the plain reference in float64 on every backend, and against torchvision."""

from __future__ import annotations

import pytest
import reference.keypoints as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12, torch.float16: 1e-3, torch.bfloat16: 8e-3}
REDUCTIONS = ["none", "mean", "sum"]
Inputs = tuple[Tensor, Tensor, Tensor]


def sample(*shape: int, dtype: torch.dtype = torch.float32, spread: float = 3) -> Inputs:
    """Logits, targets of which a few lie outside, and a valid flag for two maps of three."""
    cells = shape[2] * shape[3]
    index, valid = torch.randint(0, max(cells, 1), shape[:2]), torch.rand(shape[:2]) < 0.67
    outside = torch.rand(shape[:2]) < 0.1
    return (torch.randn(shape) * spread).to(dtype), torch.where(outside, cells, index), valid


def on(backend: Backend, inputs: Inputs) -> list[Tensor]:
    return [tensor.to(backend.device) for tensor in inputs]


def loss_and_gradient(logits: Tensor, index: Tensor, valid: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    loss = ldie_ext.spatial_softmax_cross_entropy(leaf, index, valid, reduction=reduction)
    weights = torch.arange(loss.numel(), device=loss.device).add(0.5).to(loss.dtype).view(loss.shape)
    gradient, *_ = torch.autograd.grad(loss, leaf, weights)
    return loss.detach().cpu(), gradient.cpu()


def expected(logits: Tensor, index: Tensor, valid: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    leaf = logits.double().requires_grad_()
    loss = reference.spatial_softmax_cross_entropy(leaf, index, valid, reduction)
    weights = torch.arange(loss.numel()).add(0.5).double().view(loss.shape)
    gradient, *_ = torch.autograd.grad(loss, leaf, weights)
    return loss.detach().to(logits.dtype), gradient.to(logits.dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_matches_reference(backend: Backend, reduction: str) -> None:
    for shape in ((3, 5, 12, 12), (2, 3, 7, 9), (1, 1, 60, 80), (9, 2, 1, 1), (1, 2, 1, 300)):
        inputs = sample(*shape)
        actual = loss_and_gradient(*on(backend, inputs), reduction)
        torch.testing.assert_close(actual, expected(*inputs, reduction), rtol=3e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(backend: Backend, dtype: torch.dtype) -> None:
    inputs = sample(4, 3, 9, 16, dtype=dtype)
    actual = loss_and_gradient(*on(backend, inputs), "none")
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(actual, expected(*inputs, "none"), rtol=tolerance, atol=tolerance / 10)


def test_matches_torchvision() -> None:
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    for number in range(500):
        boxes, side = 1 + number % 6, 1 + number % 28
        regions, keypoints = random_boxes(boxes, 90, 90), torch.rand(boxes, 4, 3) * 90
        keypoints[..., 2] = torch.randint(0, 2, (boxes, 4))
        logits = torch.randn(boxes, 4, side, side).mul(4).requires_grad_()
        index, valid = ldie_ext.keypoint_targets(keypoints, regions, (side, side))
        loss = ldie_ext.spatial_softmax_cross_entropy(logits, index, valid)
        peer = heads.keypointrcnn_loss(logits, [regions], [keypoints], [torch.arange(boxes)])
        torch.testing.assert_close(loss, peer, rtol=1e-5, atol=1e-6)
        gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, peer)]
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_huge_logits_keep_their_digits(backend: Backend) -> None:
    """The target may be thousands below or above 0; only differences matter."""
    index, valid = torch.tensor([[3]]), torch.tensor([[True]])
    logits = torch.tensor([0.0, 0.5, -1.0, 0.25]).view(1, 1, 2, 2)
    small = expected(logits, index, valid, "mean")
    for shift in (2.0**15, -(2.0**15)):
        actual = loss_and_gradient(*on(backend, (logits + shift, index, valid)), "mean")
        torch.testing.assert_close(actual, small, rtol=1e-6, atol=1e-7)
    certain = torch.tensor([-1e30, -1e30, -1e30, 1e30]).view(1, 1, 2, 2)
    assert [part.abs().sum() for part in loss_and_gradient(*on(backend, (certain, index, valid)), "mean")] == [0, 0]


def test_infinite_and_nan_logits(backend: Backend) -> None:
    inf, nan = float("inf"), float("nan")
    logits = torch.tensor([[0, -inf, 0, 0], [-inf] * 4, [0, nan, 0, 0], [inf, 0, 0, 0], [nan] * 4]).view(5, 1, 2, 2)
    index = torch.zeros(5, 1, dtype=torch.int64)
    valid = torch.ones(5, 1, dtype=torch.bool)
    loss, gradient = loss_and_gradient(*on(backend, (logits, index, valid)), "none")
    torch.testing.assert_close(loss[0, 0], torch.tensor(3.0).log())
    assert gradient[0, 0, 0, 1] == 0
    assert loss[1:].isnan().all()
    assert loss_and_gradient(*on(backend, (logits, index, ~valid)), "mean")[1].count_nonzero() == 0


def test_nothing_valid_and_empty(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(3, 2, 4, 4))
    for reduction in ("mean", "sum"):
        loss, gradient = loss_and_gradient(logits, index, valid & False, reduction)
        assert loss == 0
        assert not gradient.any()
        for shape in ((0, 2, 4, 4), (3, 0, 4, 4), (3, 2, 0, 4)):
            empty = logits.new_zeros(shape)
            loss, gradient = loss_and_gradient(
                empty, index[: shape[0], : shape[1]], valid[: shape[0], : shape[1]], reduction
            )
            assert loss == 0
            assert gradient.shape == shape
    assert ldie_ext.spatial_softmax_cross_entropy(logits[:0], index[:0], valid[:0], reduction="none").shape == (0, 2)


def test_non_contiguous_and_misaligned(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(4, 3, 6, 8))
    whole = loss_and_gradient(logits, index, valid, "none")
    strided = logits.transpose(0, 3).contiguous().transpose(0, 3)
    assert not strided.is_contiguous()
    assert_same(loss_and_gradient(strided, index.t().contiguous().t(), valid.t().contiguous().t(), "none"), whole)
    shifted = torch.cat([logits.flatten()[:1], logits.flatten()])[1:].view_as(logits)
    torch.testing.assert_close(loss_and_gradient(shifted, index, valid, "none"), whole)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradcheck(backend: Backend, reduction: str) -> None:
    logits, index, valid = on(backend, sample(3, 2, 3, 4, dtype=torch.float64))
    function = ldie_ext.spatial_softmax_cross_entropy
    assert torch.autograd.gradcheck(
        lambda x: function(x, index, valid, reduction=reduction), (logits.requires_grad_(),)
    )


def test_second_derivative_is_refused(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(2, 2, 3, 3))
    loss = ldie_ext.spatial_softmax_cross_entropy(logits.requires_grad_(), index, valid)
    gradient, *_ = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="spatial_softmax_cross_entropy_backward is not differentiable"):
        gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(4, 2, 3, 3))
    call = ldie_ext.spatial_softmax_cross_entropy
    with pytest.raises(RuntimeError, match=r"logits must have shape \[N, K, H, W\], got \[2, 3, 3\]"):
        call(logits[0], index, valid)
    with pytest.raises(RuntimeError, match="logits must be float32"):
        call(logits.long(), index, valid)
    with pytest.raises(RuntimeError, match=r"index must have shape \[N, K\], one per map, got \[3, 2\]"):
        call(logits, index[1:], valid)
    with pytest.raises(RuntimeError, match="index must be int64"):
        call(logits, index.int(), valid)
    with pytest.raises(RuntimeError, match="valid must be bool"):
        call(logits, index, valid.long())
    with pytest.raises(RuntimeError, match=r"valid must have shape \[N, K\]"):
        call(logits, index, valid[:, 1:])
    with pytest.raises(ValueError, match="reduction must be one of"):
        call(logits, index, valid, reduction="max")
    backward, scale = backend.op("spatial_softmax_cross_entropy_backward"), logits.new_ones(())
    normalizers = logits.new_zeros(4, 2, 2)
    with pytest.raises(RuntimeError, match=r"grad must have shape \[N, K\]"):
        backward(scale, logits, index, valid, normalizers, scale, 0)
    with pytest.raises(RuntimeError, match=r"grad must have shape \[\]"):
        backward(normalizers, logits, index, valid, normalizers, scale, 1)
    with pytest.raises(RuntimeError, match=r"normalizers must have shape \[N, K, 2\]"):
        backward(scale, logits, index, valid, normalizers[1:], scale, 1)


def test_autocast_computes_in_float32(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(3, 2, 8, 8, dtype=torch.bfloat16))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = ldie_ext.spatial_softmax_cross_entropy(logits, index, valid)
    assert_same(loss, ldie_ext.spatial_softmax_cross_entropy(logits.float(), index, valid))


def test_dispatcher_contract(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(3, 2, 4, 5))
    for code, grad in ((0, logits[..., 0, 0]), (1, logits.sum()), (2, logits.sum())):
        leaf = logits.clone().requires_grad_()
        torch.library.opcheck(backend.op("spatial_softmax_cross_entropy"), (leaf, index, valid, code))
        saved = torch.rand(3, 2, 2, device=logits.device), torch.ones((), device=logits.device)
        arguments = (grad.contiguous(), logits, index, valid, *saved, code)
        torch.library.opcheck(backend.op("spatial_softmax_cross_entropy_backward"), arguments)


def test_compiles(backend: Backend) -> None:
    logits, index, valid = on(backend, sample(3, 2, 4, 5))
    function = torch.compile(ldie_ext.spatial_softmax_cross_entropy, fullgraph=True, backend="aot_eager")
    leaf = logits.requires_grad_()
    eager = ldie_ext.spatial_softmax_cross_entropy(leaf, index, valid)
    assert_same(torch.autograd.grad(function(leaf, index, valid), leaf), torch.autograd.grad(eager, leaf))
    assert_compiles(lambda x: ldie_ext.spatial_softmax_cross_entropy(x, index, valid), logits.detach())


def test_threads_agree() -> None:
    for shape in ((60, 17, 56, 56), (3, 1, 300, 500)):
        inputs = sample(*shape)
        assert_threads_agree(lambda inputs=inputs: loss_and_gradient(*inputs, "mean"))
