"""The pairwise overlaps against plain references on every backend, and against torchvision where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reference.overlaps as reference
import torch
from backends import Backend
from boxes.matching_cases import INF, NAN, make_case
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from torch import Tensor

import ldie_ext

KINDS = ["box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou"]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14, torch.float16: 2e-6, torch.bfloat16: 2e-6}


def overlaps(kind: str, module: Any = ldie_ext) -> Callable[[Tensor, Tensor], Tensor]:
    return getattr(module, kind)


def gradients(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Of a sum in which every pair has another weight."""
    leaves = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    result = function(*leaves)
    weights = torch.linspace(-1, 2, result.numel(), dtype=result.dtype).view(result.shape).to(result.device)
    return tuple(gradient.cpu() for gradient in torch.autograd.grad(result, leaves, weights))


def integer_boxes(count: int) -> Tensor:
    """Many left edges are equal, and many right ones; no left edge is a right one of another box."""
    corner, size = torch.randint(0, 6, (count, 2)) * 2, torch.randint(0, 4, (count, 2)) * 2 + 1
    return torch.cat([corner, corner + size], dim=1).float()


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
def test_matches_reference(backend: Backend, kind: str, dtype: torch.dtype) -> None:
    for sizes in ((70, 300), (1, 33), (100, 1), (5, 8)):
        a, b = (random_boxes(count, 40, 60, dtype=dtype) for count in sizes)
        actual = overlaps(kind)(a.to(backend.device), b.to(backend.device)).cpu()
        expected = overlaps(kind, reference)(a, b)
        torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE[dtype])
        if kind == "box_iou":
            assert_same(actual, expected)


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_reference(backend: Backend, kind: str) -> None:
    """Ties of coordinates too, whose gradient is shared."""
    for make in (integer_boxes, lambda count: random_boxes(count, 40, 60)):
        for sizes in ((70, 290), (3, 1)):
            a, b = make(sizes[0]), make(sizes[1])
            actual = gradients(overlaps(kind), a.to(backend.device), b.to(backend.device))
            expected = gradients(overlaps(kind, reference), a.double(), b.double())
            for one, other in zip(actual, expected, strict=True):
                torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_torchvision(kind: str, dtype: torch.dtype) -> None:
    """500 cases in all, with NaN, infinite, empty and inverted boxes."""
    tv = pytest.importorskip("torchvision").ops
    for number in range(32):
        case = make_case(number, 60, 400, dtype)
        actual, expected = overlaps(kind)(case.gt, case.candidates), overlaps(kind, tv)(case.gt, case.candidates)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6, equal_nan=True)
        if kind == "box_iou":
            assert_same(actual, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_torchvision(kind: str) -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(20):
        make = integer_boxes if number % 2 else lambda count: random_boxes(count, 40, 60)
        a, b = make(number * 7 + 1).double(), make(50).double()
        torch.testing.assert_close(gradients(overlaps(kind), a, b), gradients(overlaps(kind, tv), a, b))


@pytest.mark.parametrize("kind", KINDS)
def test_integers_match_torchvision(kind: str) -> None:
    tv = pytest.importorskip("torchvision").ops
    a, b = integer_boxes(20).long(), integer_boxes(30).int()
    for pair in ((a, b), (a, b.float()), (a.half(), b), (a.float(), b.half())):
        torch.testing.assert_close(overlaps(kind)(*pair), overlaps(kind, tv)(*pair), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(backend: Backend, kind: str) -> None:
    a, b = (random_boxes(count, 20, 20, dtype=torch.float64).to(backend.device) for count in (4, 5))
    if kind == "complete_box_iou":  # alpha is a constant to the gradient: checked against the reference instead
        expected = gradients(reference.complete_box_iou, a.cpu(), b.cpu())
        torch.testing.assert_close(gradients(ldie_ext.complete_box_iou, a, b), expected)
        return
    assert torch.autograd.gradcheck(overlaps(kind), (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_gradients(backend: Backend, kind: str) -> None:
    a, b = (integer_boxes(count).bfloat16() for count in (20, 40))
    actual = gradients(overlaps(kind), a.to(backend.device), b.to(backend.device))
    assert actual[0].dtype == torch.bfloat16
    expected = gradients(overlaps(kind, reference), a.double(), b.double())
    torch.testing.assert_close(tuple(g.double() for g in actual), expected, rtol=1e-2, atol=1e-3)


def test_degenerate_boxes(backend: Backend) -> None:
    """Empty, point, NaN and infinite boxes against one of area 4."""
    boxes = [[1, 1, 1, 3], [1, 1, 1, 1], [NAN, 0, 1, 1], [-INF, 0, INF, 1], [2, 2, 0, 0]]
    a, b = torch.tensor([[0.0, 0, 2, 2]], device=backend.device), torch.tensor(boxes, device=backend.device).float()
    assert_same(ldie_ext.box_iou(a, b).cpu(), torch.tensor([[0, 0, NAN, 0, 0]]))
    for kind in KINDS:
        expected = overlaps(kind, reference)(a.cpu(), b.cpu())
        torch.testing.assert_close(overlaps(kind)(a, b).cpu(), expected, equal_nan=True)
    assert ldie_ext.box_iou(b[1:2], b[1:2]).isnan().all()
    assert ldie_ext.distance_box_iou(b[1:2], a).isfinite().all()


def test_boxes_that_are_apart_or_touch_have_no_gradient(backend: Backend) -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2]]).to(backend.device), torch.tensor([[5.0, 0, 7, 2]]).to(backend.device)
    for other in (b, b - 3):
        assert not torch.cat(gradients(ldie_ext.box_iou, a, other)).any()
    assert torch.cat(gradients(ldie_ext.generalized_box_iou, a, b)).any()


def test_flat_boxes_have_finite_gradients(backend: Backend) -> None:
    a, b = torch.tensor([[0.0, 1, 2, 1]]).to(backend.device), torch.tensor([[0.0, 0, 2, 2]]).to(backend.device)
    assert torch.cat(gradients(ldie_ext.complete_box_iou, a, b)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_that_are_not_used_leave_gradients_finite(backend: Backend, kind: str) -> None:
    """Losses on matched boxes read a diagonal; of boxes without area or extent other pairs are NaN."""
    nothing, endless = [5.0, 5.0, 5.0, 5.0], [-INF, 0.0, INF, 2.0]
    boxes = torch.tensor([[0.0, 0, 10, 10], nothing, endless, [NAN] * 4, [1, 1, 2, 3], nothing])
    expected = torch.zeros(6, 4)
    sound = [0, 4]
    own, other = boxes[sound] + torch.tensor([0.25, 0, 0.5, 1]), boxes[sound]
    for i, row in enumerate(sound):
        expected[row] = gradients_of_diagonal(kind, own[i : i + 1], other[i : i + 1], [0])
    shifted = boxes + torch.tensor([0.25, 0, 0.5, 1])
    actual = gradients_of_diagonal(kind, shifted.to(backend.device), boxes.to(backend.device), sound)
    torch.testing.assert_close(actual, expected)


def gradients_of_diagonal(kind: str, a: Tensor, b: Tensor, used: list[int]) -> Tensor:
    leaf = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(overlaps(kind)(leaf, b)[used, used].sum(), leaf)
    return gradient.cpu()


def test_empty_inputs(backend: Backend) -> None:
    boxes, none = torch.rand(3, 4, device=backend.device), torch.zeros(0, 4, device=backend.device)
    for kind in KINDS:
        assert overlaps(kind)(boxes, none).shape == (3, 0)
        assert overlaps(kind)(none, boxes).shape == (0, 3)
        of_a, of_b = gradients(overlaps(kind), boxes, none)
        assert of_b.shape == (0, 4)
        assert of_a.shape == (3, 4)
        assert not of_a.any()


@pytest.mark.parametrize("kind", KINDS)
def test_strides(backend: Backend, kind: str) -> None:
    a, b = (integer_boxes(count).to(backend.device) for count in (20, 40))
    strided = a.t().contiguous().t(), b.repeat_interleave(2, dim=0)[::2]
    assert not strided[0].is_contiguous()
    assert_same(overlaps(kind)(*strided), overlaps(kind)(a, b))
    assert_same(gradients(overlaps(kind), *strided), gradients(overlaps(kind), a, b))
    transposed = gradients(lambda x, y: overlaps(kind)(x, y).t(), a, b)
    expected = gradients(lambda x, y: overlaps(kind, reference)(x, y).t(), a.cpu(), b.cpu())
    torch.testing.assert_close(transposed, expected, rtol=1e-4, atol=1e-5)


def test_refused_gradients(backend: Backend) -> None:
    a, b = (integer_boxes(3).to(backend.device).requires_grad_() for _ in range(2))
    gradient, *_ = torch.autograd.grad(ldie_ext.box_iou(a, b).sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="box_iou_backward is not differentiable"):
        gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    a, b = torch.rand(3, 4, device=backend.device), torch.rand(5, 4, device=backend.device)
    with pytest.raises(RuntimeError, match=r"a must have shape \[N, 4\], got \[3, 3\]"):
        ldie_ext.box_iou(a[:, :3], b)
    with pytest.raises(RuntimeError, match=r"b must have shape \[M, 4\], got \[1, 5, 4\]"):
        ldie_ext.complete_box_iou(a, b[None])
    with pytest.raises(RuntimeError, match="b must be float32, got"):
        backend.op("box_iou")(a, b.double(), 0, 0.0)
    backward = backend.op("box_iou_backward")
    with pytest.raises(RuntimeError, match=r"grad must have shape \[N, M\], got \[3, 3\]"):
        backward(torch.ones(3, 3, device=backend.device), a, b, 0, 0.0)
    with pytest.raises(RuntimeError, match="grad must be float32"):
        backward(torch.ones(3, 5, device=backend.device).double(), a, b, 0, 0.0)


@pytest.mark.parametrize("kind", range(4))
def test_dispatcher_contract(backend: Backend, kind: int) -> None:
    a, b = (integer_boxes(count).to(backend.device).requires_grad_() for count in (3, 4))
    torch.library.opcheck(backend.op("box_iou"), (a, b, kind, 1e-7))
    grad = torch.rand(3, 4, device=backend.device)
    torch.library.opcheck(backend.op("box_iou_backward"), (grad, a.detach(), b.detach(), kind, 1e-7))


@pytest.mark.parametrize("kind", KINDS)
def test_compiles(backend: Backend, kind: str) -> None:
    a, b = (integer_boxes(count).to(backend.device) for count in (3, 4))
    assert_compiles(overlaps(kind), a, b)
    assert_compiles(overlaps(kind), a.half(), b.long())


@pytest.mark.parametrize("kind", KINDS)
def test_threads_agree(kind: str) -> None:
    a, b = random_boxes(300, 100, 100), random_boxes(700, 100, 100)
    assert_threads_agree(lambda: (overlaps(kind)(a, b), *gradients(overlaps(kind), a, b)))
