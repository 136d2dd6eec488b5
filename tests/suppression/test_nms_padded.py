"""nms_padded against the plain reference, on every backend."""

from __future__ import annotations

import pytest
import reference.suppression as reference
import torch
from conftest import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from suppression.cases import make_case, numbers

import ldie_ext


def sample(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return random_boxes(count, 50, 50), torch.rand(count), torch.randint(0, 3, (count,))


@pytest.mark.sanitize
def test_matches_reference(backend: Backend) -> None:
    for number in numbers(40):
        case = make_case(number, 120, torch.float32)
        inputs = [tensor.to(backend.device) for tensor in (case.boxes, case.scores, case.idxs)]
        for max_output in (0, 1, 7, 200):
            padded, count = ldie_ext.nms_padded(*inputs, case.iou_threshold, max_output)
            expected = reference.nms_padded(case.boxes, case.scores, case.idxs, case.iou_threshold, max_output)
            assert_same((padded.cpu(), count.cpu()), expected)


def test_best_of_many(backend: Backend) -> None:
    """The search may stop early, in each group by itself."""
    boxes, scores, idxs = sample(1500)
    for groups in (idxs, torch.zeros_like(idxs)):
        inputs = [tensor.to(backend.device) for tensor in (boxes, scores, groups)]
        padded, count = ldie_ext.nms_padded(*inputs, 0.6, 20)
        assert_same((padded.cpu(), count.cpu()), reference.nms_padded(boxes, scores, groups, 0.6, 20))


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(4))
    with pytest.raises(RuntimeError, match="nms_padded: max_output must be at least 0, got -1"):
        ldie_ext.nms_padded(boxes, scores, idxs, 0.5, -1)
    with pytest.raises(TypeError, match="idxs must be integers"):
        ldie_ext.nms_padded(boxes, scores, scores, 0.5, 3)
    with pytest.raises(RuntimeError, match="nms_padded: scores must have shape"):
        ldie_ext.nms_padded(boxes, scores[:1], idxs, 0.5, 3)


def test_empty_and_non_contiguous(backend: Backend) -> None:
    boxes, scores, idxs = (tensor.to(backend.device) for tensor in sample(50))
    padded, count = ldie_ext.nms_padded(boxes[:0], scores[:0], idxs[:0], 0.5, 3)
    assert padded.tolist() == [-1, -1, -1]
    assert count.shape == ()
    assert count.item() == 0
    strided = boxes.t().contiguous().t(), scores.repeat_interleave(2)[::2], idxs.repeat_interleave(2)[::2]
    assert_same(ldie_ext.nms_padded(*strided, 0.5, 60), ldie_ext.nms_padded(boxes, scores, idxs, 0.5, 60))


def test_dispatcher_contract(backend: Backend) -> None:
    torch.library.opcheck(backend.op("nms_padded"), (*(tensor.to(backend.device) for tensor in sample(30)), 0.5, 40))


def test_compiles(backend: Backend) -> None:
    inputs = [tensor.to(backend.device) for tensor in sample(30)]
    assert_compiles(lambda *tensors: ldie_ext.nms_padded(*tensors, 0.5, 40), *inputs)


def test_exports(backend: Backend) -> None:
    class Padded(torch.nn.Module):
        def forward(self, boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return ldie_ext.nms_padded(boxes, scores, idxs, 0.5, 10)

    boxes_dimension = torch.export.Dim("boxes")
    exported = torch.export.export(
        Padded(),
        tuple(tensor.to(backend.device) for tensor in sample(30)),
        dynamic_shapes=({0: boxes_dimension},) * 3,
    )
    other = tuple(tensor.to(backend.device) for tensor in sample(45))
    assert_same(exported.module()(*other), ldie_ext.nms_padded(*other, 0.5, 10))


def test_threads_agree() -> None:
    inputs = random_boxes(80_000, 9000, 9000), torch.rand(80_000), torch.randint(0, 90, (80_000,))
    assert_threads_agree(lambda: ldie_ext.nms_padded(*inputs, 0.5, 500))
