"""batched_nms against the plain reference on every backend, and against torchvision's nms group by group."""

from __future__ import annotations

import pytest
import reference.suppression as reference
import torch
from conftest import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from suppression.cases import make_case, numbers

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INTEGERS = [torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def sample(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return random_boxes(count, 50, 50), torch.rand(count), torch.randint(0, 5, (count,))


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for number in numbers(60):
        case = make_case(number, 200, dtype)
        inputs = [tensor.to(backend.device) for tensor in (case.boxes, case.scores, case.idxs)]
        kept = ldie_ext.batched_nms(*inputs, case.iou_threshold).cpu()
        assert_same(kept, reference.batched_nms(case.boxes, case.scores, case.idxs, case.iou_threshold))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_torchvision_group_by_group(dtype: torch.dtype) -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(500):
        case = make_case(number, 1200, dtype)
        rank = torch.empty_like(case.idxs)
        rank[case.scores.sort(stable=True, descending=True).indices] = torch.arange(len(rank))
        expected = []
        for group in case.idxs.unique():
            rows = (case.idxs == group).nonzero()[:, 0]
            expected.append(rows[tv.nms(case.boxes[rows], case.scores[rows], case.iou_threshold)])
        rows = torch.cat([rank[:0], *expected])
        kept = ldie_ext.batched_nms(case.boxes, case.scores, case.idxs, case.iou_threshold)
        assert_same(kept, rows[rank[rows].argsort()])


@pytest.mark.parametrize("count", [0, 1023, 1024, 1025, 3000, 33_000])
def test_order_of_many(backend: Backend, count: int) -> None:
    """Few scores and many groups: equal keys of all tiles that the CUDA kernels sort in stay in their order."""
    scores, idxs = torch.randint(-2, 3, (count,)).double(), torch.randint(-(1 << 62), 1 << 62, (count // 4 + 1,))
    idxs = idxs[torch.randint(0, len(idxs), (count,))]
    order = scores.sort(stable=True, descending=True).indices
    same = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).repeat(count, 1)
    apart = same + torch.arange(count)[:, None] * 2.0
    firsts = {group: row for row, group in zip(order.tolist()[::-1], idxs[order].tolist()[::-1], strict=True)}
    rows = torch.tensor([row for row in order.tolist() if firsts[idxs[row].item()] == row], dtype=torch.int64)
    for boxes, expected in ((same, rows), (apart, order)):
        kept = ldie_ext.batched_nms(*(tensor.to(backend.device) for tensor in (boxes, scores, idxs)), 0.5).cpu()
        assert_same(kept, expected)


def test_any_values_and_dtypes_of_groups(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(100))
    expected = ldie_ext.batched_nms(boxes, scores, idxs, 0.3)
    limits = torch.iinfo(torch.int64)
    far = torch.tensor([limits.min, -1, 0, 2**40, limits.max], device=backend.device)
    assert_same(ldie_ext.batched_nms(boxes, scores, far[idxs], 0.3), expected)
    parity = idxs % 2
    expected = ldie_ext.batched_nms(boxes, scores, parity, 0.3)
    for dtype in INTEGERS:
        assert_same(ldie_ext.batched_nms(boxes, scores, parity.to(dtype), 0.3), expected)


def test_groups_do_not_touch(backend: Backend) -> None:
    """Coordinates that an offset per class would round or mix up."""
    boxes = torch.tensor([[-100.0, -100.0, -90.0, -90.0], [1e7, 0.0, 1e7 + 8, 8.0]]).repeat_interleave(3, dim=0)
    scores, idxs = torch.linspace(1, 0.5, 6), torch.tensor([0, 1, 2, 0, 1, 1])
    kept = ldie_ext.batched_nms(*(tensor.to(backend.device) for tensor in (boxes, scores, idxs)), 0.5)
    assert kept.tolist() == [0, 1, 2, 3, 4]


def test_many_groups(backend: Backend) -> None:
    """Groups of one box, of some and of most boxes."""
    boxes, scores, _ = sample(700)
    for idxs in (torch.arange(700), torch.arange(700) // 3, torch.arange(700).clamp(max=20), torch.zeros(700).long()):
        kept = ldie_ext.batched_nms(*(tensor.to(backend.device) for tensor in (boxes, scores, idxs)), 0.2).cpu()
        assert_same(kept, reference.batched_nms(boxes, scores, idxs, 0.2))


@pytest.mark.sanitize
def test_groups_of_all_sizes(backend: Backend) -> None:
    """One that fills more than a chunk of the CUDA kernels, then ever smaller ones."""
    idxs = (torch.rand(7000) ** 4 * 300).long().flip(0)
    boxes, scores = random_boxes(7000, 3000, 3000), torch.rand(7000)
    kept = ldie_ext.batched_nms(*(tensor.to(backend.device) for tensor in (boxes, scores, idxs)), 0.1).cpu()
    assert_same(kept, reference.batched_nms(boxes, scores, idxs, 0.1))


def test_empty_and_non_contiguous(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(50))
    assert ldie_ext.batched_nms(boxes[:0], scores[:0], idxs[:0], 0.5).shape == (0,)
    strided = boxes.t().contiguous().t(), scores.repeat_interleave(2)[::2], idxs.repeat_interleave(2)[::2]
    assert_same(ldie_ext.batched_nms(*strided, 0.5), ldie_ext.batched_nms(boxes, scores, idxs, 0.5))


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(4))
    with pytest.raises(TypeError, match=r"idxs must be integers, got torch\.float32"):
        ldie_ext.batched_nms(boxes, scores, idxs.float(), 0.5)
    with pytest.raises(RuntimeError, match=r"batched_nms: idxs must have shape \[N\], one per box, got \[3\]"):
        ldie_ext.batched_nms(boxes, scores, idxs[1:], 0.5)
    with pytest.raises(RuntimeError, match=r"batched_nms: boxes must have shape \[N, 4\]"):
        ldie_ext.batched_nms(boxes[:, :2], scores, idxs, 0.5)


def test_dispatcher_contract(backend: Backend) -> None:
    torch.library.opcheck(backend.op("batched_nms"), (*(tensor.to(backend.device) for tensor in sample(30)), 0.5))


def test_compiles(backend: Backend) -> None:
    inputs = [tensor.to(backend.device) for tensor in sample(30)]
    assert_compiles(lambda boxes, *rest: boxes[ldie_ext.batched_nms(boxes, *rest, 0.5)], *inputs)


def test_threads_agree() -> None:
    inputs = random_boxes(80_000, 9000, 9000), torch.rand(80_000), torch.randint(0, 90, (80_000,))
    assert_threads_agree(lambda: ldie_ext.batched_nms(*inputs, 0.5))
