"""points_nms against a cell by cell reference and the composed form, on every backend."""

from __future__ import annotations

import random

import pytest
import reference.solo as reference
import torch
from backends import SANITIZED, Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INF, NAN = float("inf"), float("nan")


def composed(scores: Tensor, kernel: int) -> Tensor:
    """As the authors' code has it."""
    height, width = scores.shape[2:]
    greatest = torch.nn.functional.max_pool2d(scores, kernel, stride=1, padding=1)[..., :height, :width]
    return torch.where(greatest == scores, scores, 0)


def random_scores(number: int) -> tuple[Tensor, int]:
    rng = random.Random(number)
    torch.manual_seed(number)
    shape = rng.choice([1, 2]), rng.choice([1, 3]), rng.choice([1, 2, 3, 9]), rng.choice([1, 2, 3, 6, 19])
    scores = torch.rand(shape).round(decimals=rng.choice([1, 6])) - rng.choice([0, 0.5])  # with equal neighbours
    for special in (NAN, INF, -INF):
        if rng.random() < 0.2:
            scores[torch.rand(shape) < 0.1] = special
    return scores.to(rng.choice(FLOATS)), rng.choice([2, 3])


@pytest.mark.sanitize
def test_matches_reference(backend: Backend) -> None:
    for number in range(60 if SANITIZED else 500):
        scores, kernel = random_scores(number)
        kept = ldie_ext.points_nms(scores.to(backend.device), kernel=kernel)
        assert_same(kept.cpu(), reference.points_nms(scores, kernel))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kernel", [2, 3])
def test_matches_composed(backend: Backend, dtype: torch.dtype, kernel: int) -> None:
    for shape in ((2, 7, 40, 40), (1, 3, 12, 12), (3, 1, 37, 130)):
        scores = torch.rand(shape, dtype=torch.float64).to(dtype)
        assert_same(ldie_ext.points_nms(scores.to(backend.device), kernel=kernel).cpu(), composed(scores, kernel))


def test_nan_and_infinity(backend: Backend) -> None:
    scores = torch.tensor([[NAN, 0.5, 0.75], [0.1, INF, INF], [-INF, 0.2, -INF]], device=backend.device)[None, None]
    kept = ldie_ext.points_nms(scores)
    assert kept[0, 0].tolist() == [[0, 0, 0.75], [0, 0, INF], [0, 0, 0]]
    assert ldie_ext.points_nms(torch.full((1, 1, 2, 2), -INF, device=backend.device)).tolist() == [[[[0, 0], [0, 0]]]]


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3), (1, 2, 0, 3), (1, 2, 3, 0)])
def test_empty(backend: Backend, shape: tuple[int, ...]) -> None:
    assert ldie_ext.points_nms(torch.zeros(shape, device=backend.device)).shape == shape


@pytest.mark.parametrize("kernel", [2, 3])
def test_non_contiguous(backend: Backend, kernel: int) -> None:
    scores = torch.rand(2, 3, 9, 11, device=backend.device)
    expected = ldie_ext.points_nms(scores, kernel=kernel)
    strided = scores.contiguous(memory_format=torch.channels_last)
    assert_same(ldie_ext.points_nms(strided, kernel=kernel), expected)
    assert_same(
        ldie_ext.points_nms(scores[:, 1:, ::2], kernel=kernel).cpu(), composed(scores[:, 1:, ::2].cpu(), kernel)
    )


@pytest.mark.parametrize("kernel", [2, 3])
def test_gradient(backend: Backend, kernel: int) -> None:
    scores = (torch.randperm(2 * 3 * 5 * 6, dtype=torch.float64) / 10).view(2, 3, 5, 6).to(backend.device)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda scores: ldie_ext.points_nms(scores, kernel=kernel), scores)
    assert torch.autograd.gradgradcheck(lambda scores: ldie_ext.points_nms(scores, kernel=kernel), scores)
    weight = torch.rand(scores.shape, dtype=torch.float64, device=backend.device)
    (ours,) = torch.autograd.grad((ldie_ext.points_nms(scores, kernel=kernel) * weight).sum(), scores)
    (peer,) = torch.autograd.grad((composed(scores.cpu(), kernel) * weight.cpu()).sum(), scores)
    assert_same(ours.cpu(), peer.cpu())


def test_errors_name_the_argument(backend: Backend) -> None:
    scores = torch.rand(1, 2, 3, 4, device=backend.device)
    with pytest.raises(RuntimeError, match=r"points_nms: scores must have shape \[B, C, H, W\], got \[2, 3, 4\]"):
        ldie_ext.points_nms(scores[0])
    with pytest.raises(RuntimeError, match="scores must be float32"):
        ldie_ext.points_nms(scores.long())
    with pytest.raises(ValueError, match="kernel must be 2 or 3, got 4"):
        ldie_ext.points_nms(scores, kernel=4)
    with pytest.raises(RuntimeError, match="values must have the shape of scores"):
        backend.op("points_nms")(scores[..., 1:], scores, False)


def test_dispatcher_contract(backend: Backend) -> None:
    scores = torch.rand(1, 2, 5, 7, device=backend.device)
    torch.library.opcheck(backend.op("points_nms"), (scores.clone().requires_grad_(), scores, True))


@pytest.mark.parametrize("kernel", [2, 3])
def test_compiles(backend: Backend, kernel: int) -> None:
    assert_compiles(
        lambda scores: ldie_ext.points_nms(scores, kernel=kernel), torch.rand(1, 2, 5, 7, device=backend.device)
    )


def test_threads_agree() -> None:
    scores = torch.rand(2, 3, 300, 210)
    assert_threads_agree(lambda: (ldie_ext.points_nms(scores), ldie_ext.points_nms(scores, kernel=3)))
