"""soft_nms against the plain reference, a transcription of mmcv's rule, on every backend."""

from __future__ import annotations

from typing import Any

import pytest
import reference.suppression as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from suppression.cases import make_case
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
METHODS = ["linear", "gaussian", "naive"]
Inputs = tuple[Tensor, Tensor, Tensor]


def sample(count: int, groups: int = 3) -> Inputs:
    """Boxes that overlap much, on a lattice so that some are equal, and scores of which some are equal."""
    scores = torch.rand(count, dtype=torch.float64)
    scores = torch.where(torch.rand(count) < 0.3, (scores * 8).floor() / 8, scores)
    return random_boxes(count, 40, 40, dtype=torch.float64).round(), scores, torch.randint(0, groups, (count,))


def run(backend: Backend, inputs: Inputs, **options: Any) -> tuple[Tensor, Tensor]:
    scores, indices = ldie_ext.soft_nms(*(tensor.to(backend.device) for tensor in inputs), **options)
    return scores.cpu(), indices.cpu()


@pytest.mark.sanitize
@pytest.mark.parametrize("method", METHODS)
def test_matches_reference(backend: Backend, method: str) -> None:
    """In float64, where rounding does not change the order."""
    for count, groups, options in (
        (0, 1, {"iou_threshold": 0.3, "sigma": 0.5, "min_score": 1e-3}),
        (1, 1, {"iou_threshold": 0.3, "sigma": 0.5, "min_score": 1e-3}),
        (60, 1, {"iou_threshold": 0.3, "sigma": 0.5, "min_score": 1e-3}),
        (90, 4, {"iou_threshold": 0.0, "sigma": 0.1, "min_score": 0.2}),
        (40, 40, {"iou_threshold": 0.7, "sigma": 2.0, "min_score": -1.0}),
    ):
        inputs = sample(count, groups)
        actual = run(backend, inputs, method=method, **options)
        expected = reference.soft_nms(*inputs, method=method, **options)
        assert_same(actual[1], expected[1])
        torch.testing.assert_close(actual[0], expected[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_many_random_cases(method: str) -> None:
    for number in range(150):
        inputs = sample(number, 1 + number % 5)
        options = {"iou_threshold": number % 11 / 10, "sigma": 0.1 + number % 7, "min_score": number % 4 / 100}
        actual = ldie_ext.soft_nms(*inputs, method=method, **options)
        expected = reference.soft_nms(*inputs, method=method, **options)
        assert_same(actual[1], expected[1])
        torch.testing.assert_close(actual[0], expected[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(backend: Backend, dtype: torch.dtype) -> None:
    """16-bit inputs are computed as float32; in float32 a box is lost or found only where rounding decides."""
    boxes, scores, idxs = sample(80)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    wider = torch.float64 if dtype is torch.float64 else torch.float32
    actual = run(backend, (boxes, scores, idxs))
    kept_scores, indices = run(backend, (boxes.to(wider), scores.to(wider), idxs))
    assert_same(actual, (kept_scores.to(dtype), indices))
    expected = reference.soft_nms(
        boxes.double(), scores.double(), idxs, method="linear", iou_threshold=0.3, sigma=0.5, min_score=1e-3
    )
    assert len(indices) == pytest.approx(len(expected[1]), abs=2)
    torch.testing.assert_close(kept_scores[:20].double(), expected[0][:20], rtol=1e-5, atol=0)


def test_backends_agree_on_broken_values(backend: Backend) -> None:
    """NaN, infinite and inverted boxes, NaN and -inf scores: the CUDA kernels give the CPU's bits."""
    methods = ["linear", "naive"] if backend.name == "cuda" else METHODS  # CUDA's exponential rounds otherwise
    for number in range(0, 56, 4):
        case = make_case(number, 60, torch.float32)
        inputs = (case.boxes, case.scores, case.idxs)
        for method in methods:
            actual = run(backend, inputs, method=method, iou_threshold=0.2)
            assert_same(actual, ldie_ext.soft_nms(*inputs, method=method, iou_threshold=0.2))
            assert (actual[0] > -torch.inf).all()


def test_naive_is_nms(backend: Backend) -> None:
    """Apart from equality with the threshold, which nms keeps."""
    boxes, scores, idxs = sample(100)
    threshold = 0.35 + 1e-9
    _, indices = run(backend, (boxes, scores, idxs), method="naive", iou_threshold=threshold, min_score=1e-12)
    kept = ldie_ext.batched_nms(boxes, scores, idxs, threshold)
    assert_same(indices, kept[scores[kept] > 0])


def test_ties_scores_below_the_least_and_equality_with_the_threshold(backend: Backend) -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [9, 9, 13, 13], [0, 0, 4, 2], [20, 20, 24, 24]])
    scores, no_groups = torch.tensor([0.5, 0.5, 0.4, 1e-4]), torch.zeros(4, dtype=torch.int64)
    kept, indices = run(backend, (boxes, scores, no_groups), iou_threshold=0.5)
    assert indices.tolist() == [0, 1, 2]
    assert_same(kept, torch.tensor([0.5, 0.5, 0.2]))
    kept, indices = run(backend, (boxes[3:], scores[3:], no_groups[3:]))
    assert indices.tolist() == [0]  # the best of its group is kept whatever its score
    kept, indices = run(backend, (boxes[:1].expand(3, 4), scores[:3], no_groups[:3]))
    assert indices.tolist() == [0]


def test_groups(backend: Backend) -> None:
    boxes, scores, idxs = sample(70)
    far = torch.tensor([torch.iinfo(torch.int64).min, -1, torch.iinfo(torch.int64).max])
    expected = run(backend, (boxes, scores, idxs))
    assert_same(run(backend, (boxes, scores, far[idxs])), expected)
    assert_same(run(backend, (boxes, scores, idxs.to(torch.int8))), expected)
    ungrouped = ldie_ext.soft_nms(boxes.to(backend.device), scores.to(backend.device))
    assert_same(tuple(part.cpu() for part in ungrouped), run(backend, (boxes, scores, idxs * 0)))


@pytest.mark.sanitize
def test_group_larger_than_a_block(backend: Backend) -> None:
    boxes, scores, idxs = random_boxes(1300, 90, 90), torch.rand(1300), (torch.arange(1300) > 1200).long()
    options = {"iou_threshold": 0.1, "min_score": 0.3}
    assert_same(run(backend, (boxes, scores, idxs), **options), ldie_ext.soft_nms(boxes, scores, idxs, **options))


def test_non_contiguous_and_unwritten_inputs(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(50))
    before = boxes.clone(), scores.clone(), idxs.clone()
    expected = ldie_ext.soft_nms(boxes, scores, idxs)
    strided = boxes.t().contiguous().t(), scores.repeat_interleave(2)[::2], idxs.repeat_interleave(2)[::2]
    assert_same(ldie_ext.soft_nms(*strided), expected)
    assert_same((boxes, scores, idxs), before)


def test_gradient_is_refused(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(5))
    with pytest.raises(RuntimeError, match="soft_nms is not differentiable"):
        ldie_ext.soft_nms(boxes, scores.requires_grad_(), idxs)[0].sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(4))
    call = ldie_ext.soft_nms
    with pytest.raises(RuntimeError, match=r"soft_nms: boxes must have shape \[N, 4\], got \[4, 3\]"):
        call(boxes[:, :3], scores)
    with pytest.raises(RuntimeError, match="boxes must be float32"):
        call(boxes.long(), scores)
    with pytest.raises(RuntimeError, match=r"scores must have shape \[N\], one per box, got \[3\]"):
        call(boxes, scores[1:])
    with pytest.raises(RuntimeError, match="scores must be float64, got"):
        call(boxes, scores.float())
    with pytest.raises(RuntimeError, match=r"idxs must have shape \[N\], one per box, got \[3\]"):
        call(boxes, scores, idxs[1:])
    with pytest.raises(RuntimeError, match="sigma must be above 0, got 0"):
        call(boxes, scores, sigma=0.0)
    with pytest.raises(TypeError, match=r"idxs must be integers, got torch\.float32"):
        call(boxes, scores, idxs.float())
    with pytest.raises(ValueError, match="method must be one of"):
        call(boxes, scores, method="quadratic")


def test_dispatcher_contract(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(30))
    for groups in (idxs, None):
        torch.library.opcheck(backend.op("soft_nms"), (boxes, scores, groups, 0, 0.3, 0.5, 1e-3))


def test_compiles(backend: Backend) -> None:
    inputs = [tensor.to(backend.device) for tensor in sample(30)]
    assert_compiles(lambda *tensors: ldie_ext.soft_nms(*tensors, method="gaussian"), *inputs)


def test_threads_agree() -> None:
    inputs = random_boxes(4000, 900, 900), torch.rand(4000), torch.randint(0, 20, (4000,))
    assert_threads_agree(lambda: ldie_ext.soft_nms(*inputs))
