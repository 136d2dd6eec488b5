"""nms against the plain reference on every backend, and against torchvision where it is installed."""

from __future__ import annotations

import pytest
import reference.suppression as reference
import torch
from conftest import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from suppression.cases import INF, NAN, make_case, numbers

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for number in numbers(60):
        case = make_case(number, 150, dtype)
        kept = ldie_ext.nms(case.boxes.to(backend.device), case.scores.to(backend.device), case.iou_threshold).cpu()
        assert_same(kept, reference.nms(case.boxes, case.scores, case.iou_threshold))


@pytest.mark.parametrize("dtype", FLOATS)
def test_grid_matches_reference(dtype: torch.dtype) -> None:
    """Enough boxes that the CPU searches by place and size."""
    for number in range(30):
        case = make_case(number, 1200, dtype)
        kept = ldie_ext.nms(case.boxes, case.scores, case.iou_threshold)
        assert_same(kept, reference.nms(case.boxes, case.scores, case.iou_threshold))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_torchvision(dtype: torch.dtype) -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(500):
        case = make_case(number, 1200, dtype)
        kept = ldie_ext.nms(case.boxes, case.scores, case.iou_threshold)
        assert_same(kept, tv.nms(case.boxes, case.scores, case.iou_threshold))


@pytest.mark.parametrize("threshold", [0.0, 0.4])
@pytest.mark.parametrize("kind", [2, 7])
def test_large_inputs(backend: Backend, threshold: float, kind: int) -> None:
    """Enough boxes for the grid on the CPU and for several chunks on CUDA, of sizes that differ a little or a lot."""
    count = 5000
    centre, size = torch.rand(count, 2) * 700, torch.exp(torch.rand(count, 2) * kind)
    boxes, scores = torch.cat([centre - size, centre + size], dim=1), torch.rand(count)
    kept = ldie_ext.nms(boxes.to(backend.device), scores.to(backend.device), threshold).cpu()
    assert_same(kept, reference.nms(boxes, scores, threshold))


def test_order_of_scores(backend: Backend) -> None:
    """As torch.sort on the CPU: NaN of either sign first, -0 equal to 0, equal scores by row.

    On CUDA torch.sort puts a NaN with its sign set last.
    """
    scores = torch.tensor([0.0, -0.0, 1.0, NAN, -INF, INF, -1.0, 1.0, -NAN, 1e-45, -1e-45], device=backend.device)
    apart = torch.arange(len(scores), device=backend.device)[:, None] * 2.0
    boxes = torch.cat([apart, apart, apart + 1, apart + 1], dim=1)
    kept = ldie_ext.nms(boxes, scores, 0.5)
    assert kept.tolist() == [3, 8, 5, 2, 7, 9, 0, 1, 10, 6, 4]
    assert_same(kept.cpu(), scores.cpu().sort(stable=True, descending=True).indices)


def test_threshold_is_strict_and_in_double(backend: Backend) -> None:
    scores = torch.tensor([0.9, 0.8], device=backend.device)
    half = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]], device=backend.device)  # IoU 0.5
    assert ldie_ext.nms(half, scores, 0.5).tolist() == [0, 1]
    assert ldie_ext.nms(half, scores, 0.5 - 1e-12).tolist() == [0]  # equal to 0.5 in float32
    fifth = torch.tensor([[0.0, 0.0, 5.0, 1.0], [0.0, 0.0, 1.0, 1.0]], device=backend.device)
    assert ldie_ext.nms(fifth, scores, 0.2).tolist() == [0]  # float32(1 / 5) is above 0.2
    assert ldie_ext.nms(fifth.double(), scores.double(), 0.2).tolist() == [0, 1]


def test_boxes_without_overlap_rules(backend: Backend) -> None:
    """Two equal boxes of each kind: whether the second is kept."""
    both_kept = [[1, 1, 1, 1], [1, 1, 1, 5], [NAN, 0, 4, 4], [0, 0, INF, 4], [5, 5, 1, 1], [5, 0, 1, 4]]
    for corners in both_kept:
        boxes = torch.tensor([corners, corners], dtype=torch.float32, device=backend.device)
        assert ldie_ext.nms(boxes, torch.ones(2, device=backend.device), 0.0).tolist() == [0, 1], corners
    apart = torch.tensor([[0.0, 0.0, 1.0, 1.0], [8.0, 8.0, 9.0, 9.0]], device=backend.device)
    assert ldie_ext.nms(apart, torch.ones(2, device=backend.device), -0.1).tolist() == [0]
    assert ldie_ext.nms(apart, torch.ones(2, device=backend.device), NAN).tolist() == [0, 1]


def test_empty_and_single(backend: Backend) -> None:
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=backend.device), torch.ones(1, device=backend.device)
    assert ldie_ext.nms(boxes, scores, 0.5).tolist() == [0]
    empty = ldie_ext.nms(boxes[:0], scores[:0], 0.5)
    assert empty.shape == (0,)
    assert empty.dtype is torch.int64


def test_non_contiguous(backend: Backend) -> None:
    boxes, scores = random_boxes(60, 50, 50).to(backend.device), torch.rand(60).to(backend.device)
    strided = boxes.t().contiguous().t(), scores.repeat_interleave(2)[::2]
    assert not strided[0].is_contiguous()
    assert_same(ldie_ext.nms(*strided, 0.4), ldie_ext.nms(boxes, scores, 0.4))


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, scores = random_boxes(4, 9, 9).to(backend.device), torch.rand(4).to(backend.device)
    with pytest.raises(RuntimeError, match=r"nms: boxes must have shape \[N, 4\], got \[4\]"):
        ldie_ext.nms(boxes[:, 0], scores, 0.5)
    with pytest.raises(RuntimeError, match="boxes must be float32"):
        ldie_ext.nms(boxes.int(), scores, 0.5)
    with pytest.raises(RuntimeError, match=r"scores must be float32, got \[4\] float64"):
        ldie_ext.nms(boxes, scores.double(), 0.5)
    with pytest.raises(RuntimeError, match=r"scores must have shape \[N\]"):
        ldie_ext.nms(boxes, scores[1:], 0.5)


def test_autocast_compares_in_float32(backend: Backend) -> None:
    boxes, scores = random_boxes(80, 50, 50).to(backend.device), torch.rand(80).to(backend.device)
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        mixed = ldie_ext.nms(boxes.bfloat16(), scores, 0.4)
    assert_same(mixed, ldie_ext.nms(boxes.bfloat16().float(), scores, 0.4))


def test_dispatcher_contract(backend: Backend) -> None:
    boxes, scores = random_boxes(30, 20, 20).to(backend.device), torch.rand(30).to(backend.device)
    torch.library.opcheck(backend.op("nms"), (boxes, scores, 0.5))


def test_compiles(backend: Backend) -> None:
    boxes, scores = random_boxes(30, 20, 20).to(backend.device), torch.rand(30).to(backend.device)
    assert_compiles(lambda boxes, scores: boxes[ldie_ext.nms(boxes, scores, 0.5)] * 2, boxes, scores)


def test_threads_agree() -> None:
    boxes, scores = random_boxes(6000, 800, 800), torch.rand(6000)
    assert_threads_agree(lambda: ldie_ext.nms(boxes, scores, 0.5))


def test_more_than_half_a_million_boxes() -> None:
    """Pairs of boxes that overlap by 60 %, the pairs apart: the better one of each stays."""
    pairs = 300_000
    pair = torch.arange(pairs)
    corner = torch.stack([pair % 1000, pair // 1000], dim=1) * 8.0
    first = torch.cat([corner, corner + 4], dim=1)
    boxes = torch.stack([first, first + torch.tensor([1.0, 0.0, 1.0, 0.0])], dim=1).view(-1, 4)
    scores = torch.randperm(2 * pairs).float()
    best = scores.view(-1, 2).argmax(1) + pair * 2
    assert_same(ldie_ext.nms(boxes, scores, 0.5), best[scores[best].argsort(descending=True)])
