"""center_focal_loss_from_boxes against the plain reference and against the loss on a stored heatmap."""

from __future__ import annotations

from typing import Any

import pytest
import reference.losses as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes, random_offsets
from torch import Tensor

import ldie_ext

CLASSES = 4
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 1e-2}

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def sample(count: int, size: tuple[int, int] = (19, 37), batch: int = 3, dtype: torch.dtype = torch.float32) -> Batch:
    """Logits, boxes, labels (a few of them no class) and offsets."""
    logits = (torch.randn(batch, CLASSES, *size) * 3 - 2).to(dtype)
    labels = torch.randint(-1, CLASSES + 1, (count,))
    return logits, random_boxes(count, *size), labels, random_offsets(batch, count)


def on(backend: Backend, inputs: Batch) -> list[Tensor]:
    return [tensor.to(backend.device) for tensor in inputs]


def loss_and_gradient(logits: Tensor, *targets: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    loss = ldie_ext.center_focal_loss_from_boxes(leaf, *targets, **options)
    gradient, *_ = torch.autograd.grad(loss * 0.5, leaf)
    return loss.detach().cpu(), gradient.cpu()


def expected(logits: Tensor, *targets: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = logits.double().requires_grad_()
    loss = reference.center_focal_loss_from_boxes(leaf, *targets, **options)
    gradient, *_ = torch.autograd.grad(loss * 0.5, leaf)
    return loss.detach().to(logits.dtype), gradient.to(logits.dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("options", [{}, {"radius": "exact", "min_overlap": 0.3}, {"alpha": 1.5, "beta": 3.0}])
def test_matches_reference(backend: Backend, options: dict[str, Any]) -> None:
    for count in (0, 1, 9, 300):
        inputs = sample(count)
        actual = loss_and_gradient(*on(backend, inputs), **options)
        torch.testing.assert_close(actual, expected(*inputs, **options), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 32), (1, 1), (3, 8), (0, 4), (4, 0), (3, 2500), (70, 64), (40, 7)])
def test_sizes(backend: Backend, size: tuple[int, int]) -> None:
    """Several tiles a plane, tiles that end within a row, rows longer than a tile, maps without a cell."""
    logits, boxes, labels, offsets = sample(12, (max(size[0], 2), max(size[1], 2)), batch=2)
    inputs = logits[..., : size[0], : size[1]], boxes, labels, offsets
    torch.testing.assert_close(loss_and_gradient(*on(backend, inputs)), expected(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("boxes_dtype", [torch.float32, torch.float64])
def test_dtypes(backend: Backend, dtype: torch.dtype, boxes_dtype: torch.dtype) -> None:
    logits, boxes, labels, offsets = sample(20, (16, 32), dtype=dtype)
    inputs = logits, boxes.to(boxes_dtype), labels, offsets
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(
        loss_and_gradient(*on(backend, inputs)), expected(*inputs), rtol=tolerance, atol=tolerance / 10
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [32, 33])
def test_same_values_as_a_stored_heatmap(backend: Backend, dtype: torch.dtype, width: int) -> None:
    """Bit for bit the same gradient of every cell; the loss differs by the order of its sum only."""
    logits, *targets = on(backend, sample(40, (65, width), dtype=dtype))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    heatmap = ldie_ext.center_heatmap(*targets, CLASSES, (65, width), dtype=wide)
    leaf = logits.detach().clone().requires_grad_()
    loss = ldie_ext.center_focal_loss(leaf, heatmap)
    gradient, *_ = torch.autograd.grad(loss * 0.5, leaf)
    actual = loss_and_gradient(logits, *targets)
    assert_same(actual[1], gradient.cpu())
    torch.testing.assert_close(actual[0], loss.detach().cpu())


def test_degenerate_boxes(backend: Backend) -> None:
    nan, inf = float("nan"), float("inf")
    nothing = [[3, 3, 1, 1], [2, 2, 2, 5], [nan, 0, 4, 4], [0, 0, inf, 4], [-9, -9, -1, -1], [50, 50, 60, 60]]
    boxes = torch.tensor([*nothing, [-1e30, -1e30, 1e30, 1e30]])
    logits, labels, offsets = torch.randn(1, 2, 8, 8), torch.zeros(len(boxes), dtype=torch.int64), torch.tensor([0, 6])
    bare = logits, boxes[:6], labels[:6], offsets
    torch.testing.assert_close(loss_and_gradient(*on(backend, bare)), expected(*bare), rtol=1e-5, atol=1e-6)
    huge = logits, boxes, labels, torch.tensor([0, 7])  # a Gaussian so wide that every cell of its plane is a peak
    actual = loss_and_gradient(*on(backend, huge))
    stored = torch.zeros_like(logits)
    stored[0, 0] = 1
    torch.testing.assert_close(actual[0], reference.center_focal_loss(logits, stored), rtol=1e-5, atol=1e-6)


def test_non_contiguous(backend: Backend) -> None:
    logits, boxes, labels, offsets = on(backend, sample(12))
    whole = loss_and_gradient(logits, boxes, labels, offsets)
    strided = (
        logits.contiguous(memory_format=torch.channels_last),
        boxes.t().contiguous().t(),
        labels.repeat_interleave(2)[::2],
        offsets.repeat_interleave(3)[::3],
    )
    assert not any(tensor.is_contiguous() for tensor in strided)
    assert_same(loss_and_gradient(*strided), whole)


def test_gradcheck(backend: Backend) -> None:
    for alpha, beta in ((2.0, 4.0), (1.5, 3.0)):
        logits, *targets = on(backend, sample(5, (4, 5), batch=2, dtype=torch.float64))
        logits.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, alpha=alpha, beta=beta, targets=targets: ldie_ext.center_focal_loss_from_boxes(
                x, *targets, alpha=alpha, beta=beta
            ),
            (logits,),
            fast_mode=True,
        )


def test_refused_gradients(backend: Backend) -> None:
    logits, boxes, *rest = on(backend, sample(4))
    logits.requires_grad_()
    with pytest.raises(RuntimeError, match="not differentiable in boxes"):
        ldie_ext.center_focal_loss_from_boxes(logits, boxes.clone().requires_grad_(), *rest).backward()
    loss = ldie_ext.center_focal_loss_from_boxes(logits, boxes, *rest)
    gradient, *_ = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="center_focal_loss_from_boxes_backward is not differentiable"):
        gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    logits, boxes, labels, offsets = on(backend, sample(4))
    call = ldie_ext.center_focal_loss_from_boxes
    with pytest.raises(RuntimeError, match=r"logits must have shape \[B, C, H, W\], with B of offsets"):
        call(logits[1:], boxes, labels, offsets)
    with pytest.raises(RuntimeError, match="logits must be float32"):
        call(logits.long(), boxes, labels, offsets)
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], got \[4, 3\]"):
        call(logits, boxes[:, :3], labels, offsets)
    with pytest.raises(RuntimeError, match="labels must be int64"):
        call(logits, boxes, labels.int(), offsets)
    with pytest.raises(RuntimeError, match="min_overlap"):
        call(logits, boxes, labels, offsets, min_overlap=1.5)
    with pytest.raises(ValueError, match="radius must be one of"):
        call(logits, boxes, labels, offsets, radius="large")
    with pytest.raises(ValueError, match="alpha and beta must be at least 0"):
        call(logits, boxes, labels, offsets, beta=-1.0)
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to the number of boxes, 4"):
            call(logits, boxes, labels, torch.tensor([0, 3, 2, 4]))


def test_autocast_computes_in_float32(backend: Backend) -> None:
    logits, *targets = on(backend, sample(9, dtype=torch.bfloat16))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = ldie_ext.center_focal_loss_from_boxes(logits, *targets)
    assert_same(loss, ldie_ext.center_focal_loss_from_boxes(logits.float(), *targets))


def test_dispatcher_contract(backend: Backend) -> None:
    logits, *targets = on(backend, sample(6, (8, 12)))
    peaks = torch.ones((), dtype=torch.int64, device=backend.device)
    options = (2.0, 4.0, 0.7, 0)
    leaf = logits.clone().requires_grad_()
    torch.library.opcheck(backend.op("center_focal_loss_from_boxes"), (leaf, *targets, *options))
    torch.library.opcheck(
        backend.op("center_focal_loss_from_boxes_backward"), (logits.sum(), logits, *targets, peaks, *options)
    )


def test_compiles(backend: Backend) -> None:
    logits, *targets = on(backend, sample(6, (8, 12)))
    assert_compiles(lambda x: ldie_ext.center_focal_loss_from_boxes(x, *targets), logits)
    function = torch.compile(ldie_ext.center_focal_loss_from_boxes, fullgraph=True, backend="aot_eager")
    leaf = logits.requires_grad_()
    compiled, *_ = torch.autograd.grad(function(leaf, *targets), leaf)
    assert_same(compiled, torch.autograd.grad(ldie_ext.center_focal_loss_from_boxes(leaf, *targets), leaf)[0])


def test_threads_agree() -> None:
    inputs = sample(40, (128, 128), batch=4)
    assert_threads_agree(lambda: loss_and_gradient(*inputs))
