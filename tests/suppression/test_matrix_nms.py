"""matrix_nms against the published code on sorted masks, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from suppression.mask_cases import ious, mask_case, packed
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def reference(masks: Tensor, labels: Tensor, scores: Tensor, kernel: str, sigma: float = 2.0) -> Tensor:
    """As in SOLOv2's code, with float64 matrices; 0 / 0 of the linear kernel leaves the decay to others."""
    order = scores.sort(stable=True, descending=True).indices
    iou = (ious(masks[order]) * (labels[order][:, None] == labels[order])).triu(1)
    greatest = iou.max(0).values[:, None]
    if kernel == "gaussian":
        decay = torch.exp(-sigma * iou**2) / torch.exp(-sigma * greatest**2)
    else:
        decay = ((1 - iou) / (1 - greatest)).nan_to_num(nan=1, posinf=1)
    decayed = scores.clone()
    wide = scores[order].to(torch.promote_types(scores.dtype, torch.float32))
    decayed[order] = (wide * decay.min(0).values.to(wide.dtype)).to(scores.dtype)
    return decayed


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matches_reference(backend: Backend, dtype: torch.dtype, kernel: str) -> None:
    for number in range(5):
        case = mask_case(1 + 13 * number, dtype)
        decayed = ldie_ext.matrix_nms(*(tensor.to(backend.device) for tensor in case), kernel=kernel)
        torch.testing.assert_close(decayed.cpu(), reference(*case, kernel))


def test_sigma(backend: Backend) -> None:
    case = mask_case(30)
    inputs = [tensor.to(backend.device) for tensor in case]
    for sigma in (0.5, 7.0):
        decayed = ldie_ext.matrix_nms(*inputs, sigma=sigma)
        torch.testing.assert_close(decayed.cpu(), reference(*case, "gaussian", sigma))
    assert_same(ldie_ext.matrix_nms(*inputs, sigma=0.0), inputs[2])


def test_packed(backend: Backend) -> None:
    masks, labels, scores = (tensor.to(backend.device) for tensor in mask_case(40))
    bits = packed(masks.cpu()).to(backend.device)
    decayed = ldie_ext.matrix_nms(bits, labels, scores, packed_width=masks.shape[2])
    assert_same(decayed, ldie_ext.matrix_nms(masks, labels, scores))


def test_copies_get_nothing_and_decay_nothing(backend: Backend) -> None:
    masks = torch.tensor([[[1, 1, 0]], [[1, 1, 0]], [[1, 1, 1]]], dtype=torch.bool, device=backend.device)
    labels = torch.zeros(3, dtype=torch.int64, device=backend.device)
    scores = torch.tensor([0.9, 0.8, 0.6], device=backend.device)
    decayed = ldie_ext.matrix_nms(masks, labels, scores, kernel="linear")
    torch.testing.assert_close(decayed.cpu(), torch.tensor([0.9, 0.0, 0.2]))


def test_empty(backend: Backend) -> None:
    case = [tensor.to(backend.device) for tensor in mask_case(9)]
    assert ldie_ext.matrix_nms(*(tensor[:0] for tensor in case)).shape == (0,)
    blank = torch.zeros(9, 4, 0, dtype=torch.bool, device=backend.device)
    assert_same(ldie_ext.matrix_nms(blank, *case[1:]), case[2])


def test_non_contiguous(backend: Backend) -> None:
    masks, labels, scores = (tensor.to(backend.device) for tensor in mask_case(30))
    strided = masks.mT.contiguous().mT, labels.repeat_interleave(2)[::2], scores.repeat_interleave(2)[::2]
    assert_same(ldie_ext.matrix_nms(*strided), ldie_ext.matrix_nms(masks, labels, scores))


def test_errors_name_the_argument(backend: Backend) -> None:
    masks, labels, scores = (tensor.to(backend.device) for tensor in mask_case(4))
    with pytest.raises(ValueError, match="kernel must be one of"):
        ldie_ext.matrix_nms(masks, labels, scores, kernel="naive")
    with pytest.raises(RuntimeError, match="sigma must be at least 0, got -1"):
        ldie_ext.matrix_nms(masks, labels, scores, sigma=-1.0)
    with pytest.raises(RuntimeError, match=r"scores must have shape \[N\], one per mask"):
        ldie_ext.matrix_nms(masks, labels, scores[1:])
    with pytest.raises(RuntimeError, match="not differentiable"):
        ldie_ext.matrix_nms(masks, labels, scores.requires_grad_()).sum().backward()


def test_dispatcher_contract(backend: Backend) -> None:
    masks, *rest = (tensor.to(backend.device) for tensor in mask_case(9))
    torch.library.opcheck(backend.op("matrix_nms"), (masks, masks.shape[2], False, *rest, True, 2.0))


def test_compiles(backend: Backend) -> None:
    assert_compiles(ldie_ext.matrix_nms, *(tensor.to(backend.device) for tensor in mask_case(20)))


def test_threads_agree() -> None:
    case = mask_case(300)
    assert_threads_agree(lambda: ldie_ext.matrix_nms(*case))
