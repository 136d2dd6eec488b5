"""mask_nms against a plain greedy search, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from suppression.mask_cases import ious, mask_case, packed
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def reference(masks: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    iou = ious(masks)
    kept: list[int] = []
    for row in scores.sort(stable=True, descending=True).indices.tolist():
        if not any(labels[row] == labels[other] and iou[other, row] > iou_threshold for other in kept):
            kept.append(row)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for number in range(8):
        case, threshold = mask_case(1 + 11 * number, dtype), (0.0, 0.3, 0.5, 0.9)[number % 4]
        kept = ldie_ext.mask_nms(*(tensor.to(backend.device) for tensor in case), threshold)
        assert_same(kept.cpu(), reference(*case, threshold))


def test_packed(backend: Backend) -> None:
    masks, labels, scores = (tensor.to(backend.device) for tensor in mask_case(40))
    bits = packed(masks.cpu()).to(backend.device)
    kept = ldie_ext.mask_nms(bits, labels, scores, 0.4, packed_width=masks.shape[2])
    assert_same(kept, ldie_ext.mask_nms(masks, labels, scores, 0.4))


def test_equality_keeps_and_nan_comes_first(backend: Backend) -> None:
    masks = torch.tensor([[[True, True, False]], [[True, True, True]], [[True, False, True]]], device=backend.device)
    labels, scores = torch.zeros(3, dtype=torch.int64), torch.tensor([0.5, float("nan"), 0.5])
    labels, scores = labels.to(backend.device), scores.to(backend.device)
    assert ldie_ext.mask_nms(masks, labels, scores, 2 / 3).tolist() == [1, 0, 2]
    assert ldie_ext.mask_nms(masks, labels, scores, 0.66).tolist() == [1]
    assert ldie_ext.mask_nms(masks, labels, scores, float("nan")).tolist() == [1, 0, 2]


def test_empty(backend: Backend) -> None:
    case = [tensor.to(backend.device) for tensor in mask_case(9)]
    assert ldie_ext.mask_nms(*(tensor[:0] for tensor in case), 0.5).shape == (0,)
    blank = torch.zeros(9, 0, 4, dtype=torch.bool, device=backend.device)
    assert len(ldie_ext.mask_nms(blank, *case[1:], 0.5)) == 9
    assert len(ldie_ext.mask_nms(blank, torch.zeros_like(case[1]), case[2], -1.0)) == 1


def test_non_contiguous(backend: Backend) -> None:
    masks, labels, scores = (tensor.to(backend.device) for tensor in mask_case(30))
    strided = masks.mT.contiguous().mT, labels.repeat_interleave(2)[::2], scores.repeat_interleave(2)[::2]
    assert_same(ldie_ext.mask_nms(*strided, 0.4), ldie_ext.mask_nms(masks, labels, scores, 0.4))


def test_errors_name_the_argument(backend: Backend) -> None:
    masks, labels, scores = (tensor.to(backend.device) for tensor in mask_case(4))
    with pytest.raises(RuntimeError, match="mask_nms: masks must be uint8, got"):
        ldie_ext.mask_nms(masks, labels, scores, 0.5, packed_width=37)
    with pytest.raises(RuntimeError, match=r"labels must have shape \[N\], one per mask"):
        ldie_ext.mask_nms(masks, labels[1:], scores, 0.5)
    with pytest.raises(RuntimeError, match="labels must be int64"):
        ldie_ext.mask_nms(masks, labels.int(), scores, 0.5)
    with pytest.raises(RuntimeError, match="scores must be float32, float64"):
        ldie_ext.mask_nms(masks, labels, labels, 0.5)


def test_dispatcher_contract(backend: Backend) -> None:
    masks, *rest = (tensor.to(backend.device) for tensor in mask_case(9))
    torch.library.opcheck(backend.op("mask_nms"), (masks, masks.shape[2], False, *rest, 0.5))


def test_compiles(backend: Backend) -> None:
    case = [tensor.to(backend.device) for tensor in mask_case(20)]
    assert_compiles(lambda masks, *rest: masks[ldie_ext.mask_nms(masks, *rest, 0.5)], *case)


def test_threads_agree() -> None:
    case = mask_case(300)
    assert_threads_agree(lambda: ldie_ext.mask_nms(*case, 0.5))
