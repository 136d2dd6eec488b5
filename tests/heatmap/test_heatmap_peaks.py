"""heatmap_peaks against the plain reference, on every backend."""

from __future__ import annotations

import math

import pytest
import reference.heatmap as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def assert_matches_reference(backend: Backend, scores: torch.Tensor, k: int) -> None:
    for per_class in (False, True):
        peaks = ldie_ext.heatmap_peaks(scores.to(backend.device), k, per_class=per_class)
        assert_same(tuple(t.cpu() for t in peaks), reference.heatmap_peaks(scores, k, per_class=per_class))


@pytest.mark.sanitize
@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("shape", [(2, 3, 19, 37), (1, 2, 40, 130)])
def test_matches_reference(backend: Backend, shape: tuple[int, ...], k: int) -> None:
    assert_matches_reference(backend, torch.rand(shape), k)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes_and_ties(backend: Backend, dtype: torch.dtype) -> None:
    """Few different values, of both signs and zeros, so that ties decide which peaks are among the best."""
    scores = (torch.randn(2, 3, 17, 40) * 2).round().to(dtype)
    assert (scores == 0).sum() > 100
    for k in (1, 20, 90):
        assert_matches_reference(backend, scores, k)


@pytest.mark.parametrize("k", [1, 50, 5000])
def test_plateau(backend: Backend, k: int) -> None:
    """Every cell of a flat map is a peak: clamped probabilities look like this. The first k in order of index."""
    scores = torch.full((1, 2, 50, 60), 1e-4)
    assert_matches_reference(backend, scores, k)
    y, x = ldie_ext.heatmap_peaks(scores.to(backend.device), k)[2:]
    used = min(k, 6000)
    assert (y * 60 + x)[0, :used].tolist() == [i % 3000 for i in range(used)]


def test_many_tiles(backend: Backend) -> None:
    scores = torch.rand(1, 70, 8, 8)
    scores[0, ::7] *= 0.1
    for k in (3, 200, 400):
        assert_matches_reference(backend, scores, k)


def test_peaks_far_below_the_greatest_scores(backend: Backend) -> None:
    """A slope without peaks, whose cells are all greater than the peaks beside it."""
    scores = torch.arange(96.0 * 128).reshape(1, 1, 96, 128).repeat(1, 2, 1, 1)
    scores[..., :40, :] = torch.rand(1, 2, 40, 128)
    for k in (1, 20, 100):
        assert_matches_reference(backend, scores, k)


@pytest.mark.parametrize("levels", [1, 3])
def test_many_equal_peaks(backend: Backend, levels: int) -> None:
    """More than a thousand cells are as good as the last peak, in tiles of more peaks than are wanted."""
    scores = (torch.rand(1, 12, 64, 64) * levels).floor()
    assert_matches_reference(backend, scores, 600)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 1, 1, 9), (1, 2, 9, 1), (1, 1, 2, 2), (1, 2, 3, 300), (0, 3, 4, 4), (2, 0, 4, 4),
              (2, 3, 0, 4), (2, 3, 4, 0)]
)  # fmt: skip
def test_shapes(backend: Backend, shape: tuple[int, ...]) -> None:
    assert_matches_reference(backend, torch.rand(shape), 5)


def test_nan_and_infinity(backend: Backend) -> None:
    scores = torch.rand(1, 2, 12, 20)
    scores[0, 0, 3, 4] = math.nan
    scores[0, 0, 3, 5] = 2.0  # beside the NaN: no peak
    scores[0, 0, 8, 8] = math.inf
    scores[0, 1] = -math.inf
    scores[0, 1, 0, 0] = math.nan
    scores[0, 1, 11, 19] = -3.0
    assert_matches_reference(backend, scores, 60)
    best, labels, y, x = (t.tolist() for t in ldie_ext.heatmap_peaks(scores.to(backend.device), 60))
    assert (best[0][0], labels[0][0], y[0][0], x[0][0]) == (math.inf, 0, 8, 8)
    assert 2.0 not in best[0]
    assert (best[0][-1], labels[0][-1], y[0][-1], x[0][-1]) == (-math.inf, -1, -1, -1)


def test_equals_pool_and_topk(backend: Backend) -> None:
    """What published decoders do, where there are k peaks and no ties."""
    scores = torch.rand(2, 3, 32, 32, dtype=torch.float64).to(backend.device)
    pooled = torch.nn.functional.max_pool2d(scores, 3, stride=1, padding=1)
    best, flat = (scores * (pooled == scores)).flatten(1).topk(40)
    expected = best, flat // 1024, flat % 1024 // 32, flat % 32
    assert_same(ldie_ext.heatmap_peaks(scores, 40), expected)


def test_targets_round_trip(backend: Backend) -> None:
    """The peaks of a target heatmap are the centres of its boxes."""
    boxes = torch.tensor([[2.0, 2, 10, 9], [20, 4, 26, 16], [5, 14, 30, 18.5]])
    labels, offsets = torch.tensor([1, 0, 1]), torch.tensor([0, 3])
    heatmap = ldie_ext.center_heatmap(*(t.to(backend.device) for t in (boxes, labels, offsets)), 2, (20, 36))
    best, classes, y, x = (t[0].tolist() for t in ldie_ext.heatmap_peaks(heatmap, 4))
    assert best[:3] == [1, 1, 1]
    assert sorted(zip(classes[:3], y[:3], x[:3], strict=True)) == [(0, 10, 23), (1, 5, 6), (1, 16, 17)]


def test_non_contiguous(backend: Backend) -> None:
    scores = torch.rand(2, 3, 19, 37).to(backend.device)
    expected = ldie_ext.heatmap_peaks(scores, 20)
    assert_same(ldie_ext.heatmap_peaks(scores.to(memory_format=torch.channels_last), 20), expected)
    assert_same(ldie_ext.heatmap_peaks(scores.repeat_interleave(2, 3)[..., ::2], 20), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    scores = torch.rand(2, 3, 4, 4).to(backend.device)
    with pytest.raises(RuntimeError, match=r"heatmap_peaks: scores must have shape \[B, C, H, W\], got \[3, 4, 4\]"):
        ldie_ext.heatmap_peaks(scores[0], 5)
    with pytest.raises(RuntimeError, match="scores must be float32, float64, float16 or bfloat16"):
        ldie_ext.heatmap_peaks(scores.long(), 5)
    with pytest.raises(RuntimeError, match="k must be at least 1, got 0"):
        ldie_ext.heatmap_peaks(scores, 0)


def test_refuses_a_gradient(backend: Backend) -> None:
    best = ldie_ext.heatmap_peaks(torch.rand(1, 1, 4, 4, device=backend.device, requires_grad=True), 2)[0]
    with pytest.raises(RuntimeError, match="heatmap_peaks is not differentiable"):
        best.sum().backward()


@pytest.mark.parametrize("per_class", [False, True])
def test_dispatcher_contract(backend: Backend, per_class: bool) -> None:
    scores = torch.rand(2, 3, 9, 9).to(backend.device)
    torch.library.opcheck(backend.op("heatmap_peaks"), (scores, 4, per_class))


def test_compiles(backend: Backend) -> None:
    scores = torch.rand(2, 3, 9, 9).to(backend.device)
    assert_compiles(lambda maps: ldie_ext.heatmap_peaks(maps, 4), scores)


def test_threads_agree() -> None:
    scores = torch.rand(3, 20, 96, 96)
    assert_threads_agree(lambda: ldie_ext.heatmap_peaks(scores, 100))
    assert_threads_agree(lambda: ldie_ext.heatmap_peaks(scores, 100, per_class=True))
