"""match_boxes against the plain reference on every backend, and against torchvision where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
import reference.overlaps as reference
import torch
from backends import CPU, Backend
from boxes.matching_cases import INF, NAN, anchors, ground_truth, make_case
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from torch import Tensor

import ldie_ext

CONVENTIONS = ["torchvision", "detectron2"]


def offsets(*counts: int) -> Tensor:
    return torch.tensor([0, *counts]).cumsum(0)


def assert_matches_reference(backend: Backend, gt: Tensor, gt_offsets: Tensor, *args: Any, **options: Any) -> None:
    expected = reference.match_boxes(gt, gt_offsets, *args, **options)

    def to_device(value: Any) -> Any:
        return value.to(backend.device) if isinstance(value, Tensor) else value

    on_device = [to_device(value) for value in (gt, gt_offsets, *args)]
    options = {name: to_device(value) for name, value in options.items()}
    assert_same(tuple(result.cpu() for result in ldie_ext.match_boxes(*on_device, **options)), expected)


@pytest.mark.sanitize
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_reference(backend: Backend, dtype: torch.dtype, convention: str) -> None:
    for number in range(30):
        case = make_case(number, 20, 700, dtype)
        assert_matches_reference(
            backend, case.gt, offsets(len(case.gt)), case.candidates, case.high, case.low,
            allow_low_quality=case.allow_low_quality, convention=convention,
        )  # fmt: skip


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_many_cases_match_reference(convention: str) -> None:
    for number in range(500):
        case = make_case(number, 60, 3000)
        assert_matches_reference(
            CPU, case.gt, offsets(len(case.gt)), case.candidates, case.high,
            case.low, allow_low_quality=case.allow_low_quality, convention=convention,
        )  # fmt: skip


def test_matches_torchvision() -> None:
    """Bit for bit, on broken boxes too."""
    torchvision = pytest.importorskip("torchvision")
    from torchvision.models.detection._utils import Matcher

    for number in range(500):
        case = make_case(number, 60, 3000)
        matcher = Matcher(case.high, case.low, case.allow_low_quality)
        expected = matcher(torchvision.ops.box_iou(case.gt, case.candidates))
        matches, _ = ldie_ext.match_boxes(
            case.gt, offsets(len(case.gt)), case.candidates, case.high, case.low,
            allow_low_quality=case.allow_low_quality,
        )  # fmt: skip
        assert_same(matches[0], expected)


@pytest.mark.sanitize
@pytest.mark.parametrize("shared", [True, False])
def test_batches(backend: Backend, shared: bool) -> None:
    """Images with few, no and many (more than a tile's) boxes, with and without crowds."""
    counts = (3, 0, 300, 1)
    gt = random_boxes(sum(counts), 64, 64)
    candidates = anchors(600).float() if shared else torch.stack([random_boxes(290, 64, 64) for _ in counts])
    for crowd in (None, torch.rand(len(gt)) < 0.4, torch.ones(len(gt), dtype=torch.bool)):
        for low_quality in (False, True):
            assert_matches_reference(
                backend, gt, offsets(*counts), candidates, 0.6, 0.3, allow_low_quality=low_quality, crowd=crowd
            )


def test_large_inputs(backend: Backend) -> None:
    candidates = anchors(20_000)
    gt = torch.cat([ground_truth(kind, 5, candidates) for kind in ("rounded", "jittered anchors", "apart")]).float()
    assert_matches_reference(backend, gt, offsets(10, 5), candidates.float(), 0.7, 0.3, allow_low_quality=True)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_of_candidates_changes_nothing(dtype: torch.dtype, shared: bool) -> None:
    """Scattered candidates are sorted by cells within: results stay in place, ties and broken boxes included."""
    counts = (40, 0, 25)
    gt = random_boxes(sum(counts), 256, 256).to(dtype)
    candidates = anchors(20_000).to(dtype)
    candidates[:: len(candidates) // 50, 0] = NAN
    candidates[1 :: len(candidates) // 50, 2] = INF
    candidates[2 :: len(candidates) // 50] = 3.0
    if not shared:
        candidates = torch.stack([candidates, candidates.flip(0), candidates + 7])
    order = torch.randperm(candidates.shape[-2])
    shuffled = candidates[..., order, :]
    for low_quality in (False, True):
        rule = (offsets(*counts), 0.6, 0.3)
        in_order = reference.match_boxes(gt, rule[0], candidates, *rule[1:], allow_low_quality=low_quality)
        results = ldie_ext.match_boxes(gt, rule[0], shuffled, *rule[1:], allow_low_quality=low_quality)
        assert_same(results, tuple(value[:, order] for value in in_order))


def test_ties_go_to_the_first_row_and_to_all_candidates(backend: Backend) -> None:
    gt = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0], [9.0, 0.0, 13.0, 4.0]], device=backend.device)
    boxes = [[0.0, 0.0, 2.0, 2.0], [9.0, 0.0, 11.0, 4.0], [11.0, 0.0, 13.0, 4.0], [9.0, 0.0, 10.0, 4.0]]
    candidates = torch.tensor(boxes, device=backend.device)
    call = (gt, offsets(3).to(backend.device), candidates, 0.7, 0.3)
    matches, iou = ldie_ext.match_boxes(*call)
    assert matches.tolist() == [[0, -2, -2, -1]]
    assert iou.tolist() == [[1.0, 0.5, 0.5, 0.25]]
    assert ldie_ext.match_boxes(*call, allow_low_quality=True)[0].tolist() == [[0, 2, 2, -1]]


def test_unmatched_ground_truth_marks_every_candidate(backend: Backend) -> None:
    gt = torch.tensor([[0.0, 0.0, 2.0, 2.0], [90.0, 0.0, 99.0, 9.0], [4.0, 0.0, 9.0, 5.0]], device=backend.device)
    candidates = torch.tensor([[0.0, 0.0, 2.0, 1.0], [4.0, 0.0, 9.0, 1.0], [50.0, 0, 51, 1]], device=backend.device)
    call = (gt, offsets(3).to(backend.device), candidates, 0.7, 0.3)
    assert ldie_ext.match_boxes(*call, allow_low_quality=True)[0].tolist() == [[0, 2, 0]]
    without = torch.tensor([False, True, False], device=backend.device)
    assert ldie_ext.match_boxes(*call, allow_low_quality=True, crowd=without)[0].tolist() == [[0, 2, -1]]


def test_broken_boxes(backend: Backend) -> None:
    """NaN, infinite, empty and inverted boxes by the two conventions."""
    gt = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]], device=backend.device)
    boxes = [[NAN, 0.0, 2.0, 2.0], [-INF, 0.0, INF, 2.0], [5.0, 5.0, 5.0, 5.0], [2.0, 2.0, 0.0, 0.0], [0, 0, 2, 2]]
    call = (gt, offsets(2).to(backend.device), torch.tensor(boxes, device=backend.device), 0.7, 0.3)
    matches, iou = ldie_ext.match_boxes(*call)
    assert matches.tolist() == [[0, -1, 1, -1, 0]]
    assert iou[0].isnan().tolist() == [True, False, True, False, False]
    matches, iou = ldie_ext.match_boxes(*call, convention="detectron2")
    assert matches.tolist() == [[-1, -1, -1, -1, 0]]
    assert iou.tolist() == [[0.0, 0.0, 0.0, 0.0, 1.0]]


def test_empty_inputs(backend: Backend) -> None:
    boxes, none = torch.rand(3, 4, device=backend.device), torch.zeros(0, 4, device=backend.device)
    for low_quality in (False, True):
        matches, iou = ldie_ext.match_boxes(
            none, offsets(0, 0).to(backend.device), boxes, 0.5, 0.5, allow_low_quality=low_quality
        )
        assert matches.tolist() == [[-1] * 3] * 2
        assert iou.tolist() == [[0.0] * 3] * 2
        matches, iou = ldie_ext.match_boxes(
            boxes, offsets(3).to(backend.device), none, 0.5, 0.5, allow_low_quality=low_quality
        )
        assert matches.shape == iou.shape == (1, 0)
    no_images = torch.zeros(1, dtype=torch.int64, device=backend.device)
    assert ldie_ext.match_boxes(none, no_images, boxes, 0.5, 0.5)[0].shape == (0, 3)


def test_thresholds_are_compared_in_the_type_of_the_iou(backend: Backend) -> None:
    """7 / 10 rounded to float32 is the threshold 0.7 rounded, and less than 0.7."""
    gt = torch.tensor([[0.0, 0.0, 10.0, 1.0]], device=backend.device)
    candidates = torch.tensor([[0.0, 0.0, 7.0, 1.0]], device=backend.device)
    matches, iou = ldie_ext.match_boxes(gt, offsets(1).to(backend.device), candidates, 0.7, 0.3)
    assert float(iou) < 0.7
    assert matches.tolist() == [[0]]


def test_mixed_and_half_precision_and_strides(backend: Backend) -> None:
    gt, candidates = random_boxes(5, 32, 32).half(), random_boxes(40, 32, 32).bfloat16()
    call = (offsets(5).to(backend.device), 0.5, 0.3)
    expected = reference.match_boxes(gt.float(), offsets(5), candidates.float(), 0.5, 0.3)
    gt, candidates = gt.to(backend.device), candidates.to(backend.device)
    result = ldie_ext.match_boxes(gt, call[0], candidates, *call[1:])
    assert_same(tuple(value.cpu() for value in result), expected)
    strided = candidates.t().contiguous().t().float()
    assert not strided.is_contiguous()
    assert_same(ldie_ext.match_boxes(gt.double().float(), call[0], strided, *call[1:]), result)
    assert ldie_ext.match_boxes(gt.double(), call[0], candidates, *call[1:])[1].dtype == torch.float64


def test_memory_is_linear() -> None:
    """A matrix of these pairs would be 80 MB."""
    gt, candidates = random_boxes(1000, 256, 256), anchors(20_000).float()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        ldie_ext.match_boxes(gt, offsets(1000), candidates, 0.7, 0.3, allow_low_quality=True)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert sum(max(0, event.nbytes()) for event in events) < 1e6


def test_errors_name_the_argument(backend: Backend) -> None:
    gt, candidates = torch.rand(3, 4, device=backend.device), torch.rand(5, 4, device=backend.device)
    rows = offsets(3).to(backend.device)
    call = ldie_ext.match_boxes
    with pytest.raises(ValueError, match=r"low must be at most high, got low 0.6 and high 0.5"):
        call(gt, rows, candidates, 0.5, 0.6)
    with pytest.raises(ValueError, match="low must be at most high"):
        call(gt, rows, candidates, NAN, 0.3)
    with pytest.raises(ValueError, match="convention must be one of"):
        call(gt, rows, candidates, 0.5, 0.5, convention="mmdet")
    with pytest.raises(RuntimeError, match=r"gt must have shape \[G, 4\], got \[3, 3\]"):
        call(gt[:, :3], rows, candidates, 0.5, 0.5)
    with pytest.raises(RuntimeError, match="gt must be float32 or float64, got"):
        backend.op("match_boxes")(gt.half(), rows, candidates.half(), 0.5, 0.5, False, 0, None)
    with pytest.raises(RuntimeError, match="candidates must be float32, got"):
        backend.op("match_boxes")(gt, rows, candidates.double(), 0.5, 0.5, False, 0, None)
    with pytest.raises(RuntimeError, match="gt_offsets must be int64"):
        call(gt, rows.int(), candidates, 0.5, 0.5)
    with pytest.raises(RuntimeError, match=r"candidates must have shape \[A, 4\] or \[B, A, 4\]"):
        call(gt, rows, candidates.expand(2, 5, 4), 0.5, 0.5)
    with pytest.raises(RuntimeError, match=r"crowd must have shape \[G\]"):
        call(gt, rows, candidates, 0.5, 0.5, crowd=torch.zeros(2, dtype=torch.bool, device=backend.device))
    with pytest.raises(RuntimeError, match="crowd must be bool"):
        call(gt, rows, candidates, 0.5, 0.5, crowd=rows[:3])
    if backend.device.type == "cpu" and backend.name == "cpu":
        with pytest.raises(RuntimeError, match="gt_offsets must rise from 0 to the number of boxes, 3"):
            call(gt, rows - 1, candidates, 0.5, 0.5)


def test_dispatcher_contract(backend: Backend) -> None:
    gt, candidates = torch.rand(3, 4, device=backend.device), torch.rand(2, 5, 4, device=backend.device)
    crowd = torch.tensor([True, False, False], device=backend.device)
    args = (gt, offsets(1, 2).to(backend.device), candidates, 0.5, 0.3, True, 1, crowd)
    torch.library.opcheck(backend.op("match_boxes"), args)


def test_compiles(backend: Backend) -> None:
    gt, candidates = torch.rand(3, 4, device=backend.device), torch.rand(5, 4, device=backend.device)
    rows = offsets(1, 2).to(backend.device)
    assert_compiles(lambda g, c: ldie_ext.match_boxes(g, rows, c, 0.5, 0.3, allow_low_quality=True), gt, candidates)


def test_threads_agree() -> None:
    candidates = anchors(30_000)
    gt = ground_truth("rounded", 40, candidates).float()
    for boxes in (candidates.float(), candidates[torch.randperm(len(candidates))].float()):
        assert_threads_agree(
            lambda boxes=boxes: ldie_ext.match_boxes(gt, offsets(25, 15), boxes, 0.7, 0.3, allow_low_quality=True)
        )
