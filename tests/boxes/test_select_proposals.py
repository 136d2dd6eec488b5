"""select_proposals against the plain reference on every backend, and against torchvision where it is installed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import reference.proposals as reference
import torch
from backends import Backend, emulated_launches
from boxes.proposal_cases import FLOATS, Proposals, make_proposals
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext


def assert_matches_reference(backend: Backend, case: Proposals, *, exact: bool = False) -> None:
    boxes, scores, counts = (t.cpu() for t in case.to(backend.device).call(ldie_ext.select_proposals))
    expected_boxes, expected_scores, expected_counts = case.call(reference.select_proposals)
    assert_same((scores, counts), (expected_scores, expected_counts))
    tolerance = 0.0 if exact else 1e-5
    torch.testing.assert_close(boxes, expected_boxes, rtol=tolerance, atol=tolerance * 100)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for pre_nms, post_nms, threshold in [(60, 50, 0.7), (7, 100, 0.3), (500, 20, 0.5), (1, 1, 0.7)]:
        options = {"pre_nms": pre_nms, "post_nms": post_nms, "iou_threshold": threshold}
        assert_matches_reference(backend, make_proposals(2, (45, 67), dtype=dtype, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_and_no_rounding(backend: Backend, dtype: torch.dtype) -> None:
    """Few different scores, so that the order of the anchors decides everywhere; boxes bit for bit."""
    for values in (1, 3, 40):
        case = make_proposals(2, (40, 60), dtype=dtype, scaled=False, iou_threshold=0.4)
        scores = torch.randint(-values, values, case.scores.shape).to(dtype) * 0.5
        assert_matches_reference(backend, replace(case, scores=scores), exact=True)


@pytest.mark.parametrize("part", range(4))
def test_random_shapes(backend: Backend, part: int) -> None:
    for _ in range(25 if backend.name != "emulated" else 3):
        height, width, batch, levels = (int(torch.randint(1, high, ())) for high in (60, 80, 4, 5))
        pre_nms, post_nms = (int(torch.randint(1, 200, ())) for _ in range(2))
        threshold = float(torch.rand(()))
        options = {"pre_nms": pre_nms, "post_nms": post_nms, "iou_threshold": threshold, "min_size": 4.0}
        assert_matches_reference(backend, make_proposals(batch, (height, width), (4, 8, 16, 32)[:levels], **options))


@pytest.mark.parametrize("pre_nms", [3000, 4096, 5000, 20000])
def test_more_than_a_chunk_of_the_search(backend: Backend, pre_nms: int) -> None:
    """Segments up to and beyond the chunks that the CUDA kernels search, and levels of very different sizes."""
    case = make_proposals(2, (150, 200), (4, 16), pre_nms=pre_nms, post_nms=700, iou_threshold=0.6)
    assert_matches_reference(backend, case)


@pytest.mark.sanitize
def test_segments_do_not_meet(backend: Backend) -> None:
    """The same boxes in every level and image, of one of which some are rejected: each segment keeps its own."""
    case = make_proposals(3, (60, 80), (8,), pre_nms=100, post_nms=1000, iou_threshold=0.3, score_threshold=0.0)
    count = case.scores.shape[1]
    case = replace(
        case,
        scores=case.scores.repeat(1, 3),
        deltas=case.deltas.repeat(1, 3, 1),
        anchors=case.anchors.repeat(3, 1),
        level_sizes=[count] * 3,
    )
    case.scores[1, :count] = -1.0
    assert_matches_reference(backend, case)


@pytest.mark.parametrize(("pre_nms", "launches"), [(1000, 7), (5000, 10)])
def test_all_segments_at_once(backend: Backend, pre_nms: int, launches: int) -> None:
    """Image sizes, two keys, decode, mask, resolve, write; with segments of two chunks apply, mask and resolve again.

    The scores of one image, fewer than 32k, are sorted by two kernels of ours.
    """
    if backend.name != "emulated":
        pytest.skip("only the emulator counts launches")
    for batch in (1, 4):
        case = make_proposals(batch, (180, 200), (4, 8, 16), pre_nms=pre_nms, post_nms=100)
        before = emulated_launches()
        case.call(ldie_ext.select_proposals)
        assert emulated_launches() - before == launches + (2 if batch == 1 else 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_size", 0.0), ("min_size", 30.0), ("min_size", 1e9), ("score_threshold", 1.5), ("score_threshold", 9.0),
     ("clip", 0.1), ("iou_threshold", 0.0), ("iou_threshold", 1.0)],
)  # fmt: skip
def test_options(backend: Backend, option: str, value: float) -> None:
    assert_matches_reference(backend, make_proposals(2, (45, 67), **{option: value}))


def test_nan_and_infinity(backend: Backend) -> None:
    case = make_proposals(2, (45, 67), pre_nms=200, post_nms=300)
    count = case.scores.shape[1]
    for value in (math.nan, math.inf, -math.inf):
        case.scores[0, torch.randperm(count)[:30]] = value
        case.deltas[1, torch.randperm(count)[:30], torch.randint(0, 4, (30,))] = value
        case.anchors[torch.randperm(count)[:10], torch.randint(0, 4, (10,))] = value
    assert_matches_reference(backend, case)
    boxes, scores, _ = case.to(backend.device).call(ldie_ext.select_proposals)
    assert boxes.isfinite().all()
    assert not scores.isnan().any()
    nothing = replace(case, scores=torch.full_like(case.scores, math.nan)).to(backend.device)
    boxes, scores, counts = nothing.call(ldie_ext.select_proposals)
    assert (boxes == 0).all()
    assert (scores == -math.inf).all()
    assert counts.tolist() == [0, 0]


def test_empty(backend: Backend) -> None:
    case = make_proposals(2, (20, 30), (8, 16))
    sizes = [0, case.level_sizes[0], 0, case.level_sizes[1], 0]
    assert_matches_reference(backend, replace(case, level_sizes=sizes))
    no_anchors = Proposals(case.scores[:, :0], case.deltas[:, :0], case.anchors[:0], [0, 0], case.image_sizes,
                           case.options)  # fmt: skip
    assert_matches_reference(backend, no_anchors)
    no_images = make_proposals(0, (20, 30)).to(backend.device).call(ldie_ext.select_proposals)
    assert [tuple(t.shape) for t in no_images] == [(0, 50, 4), (0, 50), (0,)]
    flat = replace(case, image_sizes=[(0, 30), (20, 0)])
    assert flat.to(backend.device).call(ldie_ext.select_proposals)[2].tolist() == [0, 0]


def test_huge_values(backend: Backend) -> None:
    """Products that overflow make no proposal."""
    case = make_proposals(1, (20, 30), (8, 16))
    case.anchors[::3] *= 1e38
    case.deltas[0, ::5] = 3e38
    assert_matches_reference(backend, case)


def test_non_contiguous_and_sizes_as_tensor(backend: Backend) -> None:
    case = make_proposals(2, (45, 67)).to(backend.device)
    expected = case.call(ldie_ext.select_proposals)
    strided = replace(
        case,
        scores=case.scores.t().contiguous().t(),
        deltas=case.deltas.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        anchors=case.anchors.repeat_interleave(2, 0)[::2],
        image_sizes=torch.tensor(case.image_sizes, device=backend.device),
    )
    assert_same(strided.call(ldie_ext.select_proposals), expected)


def test_takes_no_gradient(backend: Backend) -> None:
    case = make_proposals(1, (20, 30)).to(backend.device)
    case.scores.requires_grad_()
    case.deltas.requires_grad_()
    assert not any(t.requires_grad for t in case.call(ldie_ext.select_proposals))


def test_errors_name_the_argument(backend: Backend) -> None:
    case = make_proposals(2, (20, 30), (8, 16)).to(backend.device)

    def expect(message: str, **changes: Any) -> None:
        with pytest.raises(RuntimeError, match=f"select_proposals: {message}"):
            replace(case, **changes).call(ldie_ext.select_proposals)

    expect(r"scores must have shape \[B, A\]", scores=case.scores[0])
    expect("scores must be float32, float64, float16 or bfloat16", scores=case.scores.long())
    expect("deltas must be float32, got .* float16", deltas=case.deltas.half())
    expect(r"deltas must have shape \[B, A, 4\]", deltas=case.deltas[:, 1:])
    expect("anchors must be float32, got .* float64", anchors=case.anchors.double())
    expect(r"anchors must have shape \[A, 4\]", anchors=case.anchors[1:])
    expect(r"image_sizes must have shape \[B, 2\], height and width", image_sizes=[(20, 30)])
    expect("level_sizes must sum to the number of anchors", level_sizes=case.level_sizes[:1])
    expect("level_sizes must be between 0 and", level_sizes=[-1, *case.level_sizes])
    expect("level_sizes must name 1 to 16 levels, got 0", level_sizes=[])
    expect("level_sizes must name 1 to 16 levels, got 17", level_sizes=[0] * 17)
    expect("pre_nms must be at least 1, got 0", options=case.options | {"pre_nms": 0})
    expect("post_nms must be at least 1, got -2", options=case.options | {"post_nms": -2})


def native_arguments(case: Proposals) -> tuple[Any, ...]:
    sizes = torch.tensor(case.image_sizes, device=case.scores.device)
    return case.scores, case.deltas, case.anchors, sizes, case.level_sizes, 20, 10, 0.7, 1e-3, -math.inf, 4.0


def test_dispatcher_contract(backend: Backend) -> None:
    case = make_proposals(2, (20, 30), (8, 16)).to(backend.device)
    torch.library.opcheck(backend.op("select_proposals"), native_arguments(case))


def test_compiles(backend: Backend) -> None:
    case = make_proposals(2, (20, 30), (8, 16)).to(backend.device)
    assert_compiles(
        lambda scores, deltas: replace(case, scores=scores, deltas=deltas).call(ldie_ext.select_proposals),
        case.scores,
        case.deltas,
    )


def test_exports(backend: Backend) -> None:
    case = make_proposals(2, (20, 30), (8, 16)).to(backend.device)

    class Select(torch.nn.Module):
        def forward(self, scores: torch.Tensor, deltas: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
            options = {"pre_nms": 30, "post_nms": 20, "iou_threshold": 0.7}
            return ldie_ext.select_proposals(scores, deltas, case.anchors, case.level_sizes, sizes, **options)

    sizes = torch.tensor(case.image_sizes, device=backend.device)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(Select(), (case.scores, case.deltas, sizes), dynamic_shapes=({0: batch},) * 3)
    other = [t.repeat_interleave(2, 0) for t in (case.scores, case.deltas, sizes)]
    assert_same(exported.module()(*other), Select()(*other))


def test_never_waits_for_the_device(backend: Backend) -> None:
    if backend.name != "cuda":
        pytest.skip("only a GPU can be waited for")
    case = make_proposals(2, (45, 67)).to(backend.device)
    case.call(ldie_ext.select_proposals)
    torch.cuda.set_sync_debug_mode("error")
    try:
        case.call(ldie_ext.select_proposals)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_threads_agree() -> None:
    case = make_proposals(3, (200, 300), pre_nms=1000, post_nms=600)
    assert_threads_agree(lambda: case.call(ldie_ext.select_proposals))


@pytest.mark.parametrize("number", range(60))
def test_matches_torchvision(number: int) -> None:
    """RegionProposalNetwork's own methods: decode, and the filter; the last cases at the size of a real image."""
    pytest.importorskip("torchvision")
    from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead

    real = number >= 57
    batch, size = int(torch.randint(1, 4, ())), (320, 480) if real else (40 + number, 150 - number)
    pre_nms, post_nms = (1000, 500) if real else (20 + 5 * number, 15 + number)
    case = make_proposals(batch, size, pre_nms=pre_nms, post_nms=post_nms)
    network = RegionProposalNetwork(
        AnchorGenerator(((32,),), ((1.0,),)), RPNHead(1, 1), 0.7, 0.3, 256, 0.5,
        {"training": pre_nms, "testing": pre_nms}, {"training": post_nms, "testing": post_nms}, 0.7,
    )  # fmt: skip
    decoded = network.box_coder.decode(case.deltas.flatten(0, 1), [case.anchors] * batch).view(batch, -1, 4)
    peer_boxes, peer_scores = network.filter_proposals(decoded, case.scores, case.image_sizes, case.level_sizes)
    boxes, scores, counts = case.call(ldie_ext.select_proposals)
    assert counts.tolist() == [len(expected) for expected in peer_boxes]
    for image, count in enumerate(counts.tolist()):
        torch.testing.assert_close(boxes[image, :count], peer_boxes[image], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(scores[image, :count].sigmoid(), peer_scores[image].flatten())
