"""keypoint_targets against the plain reference on every backend, and against torchvision."""

from __future__ import annotations

import pytest
import reference.keypoints as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def sample(boxes: int, keypoints: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Keypoints in and around boxes of whole pixels, some on the edges, and those boxes."""
    regions = random_boxes(boxes, 60, 80).round()
    place = torch.randint(-1, 6, (boxes, keypoints, 2)) / 4 + torch.rand(boxes, keypoints, 2).mul(4).floor() / 32
    points = regions[:, None, :2] + place * (regions[:, None, 2:] - regions[:, None, :2])
    visibility = torch.randint(0, 3, (boxes, keypoints, 1))
    return torch.cat([points, visibility], dim=2).to(dtype), regions.to(dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for boxes, keypoints, size in ((9, 17, (56, 56)), (40, 5, (3, 200)), (3, 1, (1, 1)), (2, 3, (0, 4))):
        inputs = sample(boxes, keypoints, dtype)
        actual = ldie_ext.keypoint_targets(*(tensor.to(backend.device) for tensor in inputs), size)
        expected = reference.keypoint_targets(*inputs, size)
        assert_same(tuple(tensor.cpu() for tensor in actual), expected)


def test_matches_torchvision() -> None:
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    for number in range(500):
        side = 1 + number % 64
        keypoints, boxes = sample(20, 17)
        index, valid = ldie_ext.keypoint_targets(keypoints, boxes, (side, side))
        expected_index, expected_valid = heads.keypoints_to_heatmap(keypoints, boxes, side)
        assert_same((index, valid.long()), (expected_index, expected_valid))


def test_far_edges_and_degenerate_boxes(backend: Backend) -> None:
    nan, inf, huge = float("nan"), float("inf"), 3e38
    box = [2.0, 4.0, 10.0, 8.0]
    cases = [([2, 4, 1], box, 0), ([10, 8, 1], box, 63), ([10, 4, 2], box, 7), ([9.99, 7.99, 1], box, 63),
             ([10.01, 5, 1], box, None), ([1.99, 5, 1], box, None), ([5, 5, 0], box, None), ([5, 5, -1], box, None),
             ([nan, 5, 1], box, None), ([5, 5, nan], box, None), ([inf, 5, 1], box, None), ([huge, 5, 1], box, None),
             ([5, 5, 1], [nan, 0, 9, 9], None), ([5, 5, 1], [0, 0, inf, 9], 32),
             ([3, 5, 1], [3, 5, 3, 5], 63), ([4, 5, 1], [3, 5, 3, 5], None)]  # fmt: skip
    keypoints = torch.tensor([point for point, _, _ in cases], dtype=torch.float32)[:, None]
    boxes = torch.tensor([box for _, box, _ in cases], dtype=torch.float32)
    index, valid = ldie_ext.keypoint_targets(keypoints.to(backend.device), boxes.to(backend.device), (8, 8))
    assert valid[:, 0].tolist() == [cell is not None for _, _, cell in cases]
    assert index[:, 0].tolist() == [cell or 0 for _, _, cell in cases]


def test_empty_and_non_contiguous(backend: Backend) -> None:
    keypoints, boxes = (tensor.to(backend.device) for tensor in sample(6, 17))
    for slots in (0, 17):
        index, valid = ldie_ext.keypoint_targets(keypoints[:0, :slots], boxes[:0], (56, 56))
        assert index.shape == valid.shape == (0, slots)
    assert ldie_ext.keypoint_targets(keypoints[:, :0], boxes, (56, 56))[0].shape == (6, 0)
    strided = keypoints.transpose(0, 1).contiguous().transpose(0, 1), boxes.t().contiguous().t()
    assert not strided[0].is_contiguous()
    expected = ldie_ext.keypoint_targets(keypoints, boxes, (56, 56))
    assert_same(ldie_ext.keypoint_targets(*strided, (56, 56)), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    keypoints, boxes = (tensor.to(backend.device) for tensor in sample(4, 3))
    call = ldie_ext.keypoint_targets
    with pytest.raises(RuntimeError, match=r"keypoints must have shape \[N, K, 3\], got \[4, 3, 2\]"):
        call(keypoints[..., :2], boxes, (8, 8))
    with pytest.raises(RuntimeError, match="keypoints must be float32"):
        call(keypoints.long(), boxes, (8, 8))
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], one per row of keypoints, got \[3, 4\]"):
        call(keypoints, boxes[1:], (8, 8))
    with pytest.raises(RuntimeError, match="boxes must be float32, got"):
        call(keypoints, boxes.double(), (8, 8))
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(keypoints, boxes, (8, -1))


def test_dispatcher_contract(backend: Backend) -> None:
    keypoints, boxes = (tensor.to(backend.device) for tensor in sample(4, 3))
    torch.library.opcheck(backend.op("keypoint_targets"), (keypoints, boxes, 56, 48))


def test_compiles(backend: Backend) -> None:
    inputs = [tensor.to(backend.device) for tensor in sample(4, 3)]
    assert_compiles(lambda *tensors: ldie_ext.keypoint_targets(*tensors, (56, 56)), *inputs)


def test_threads_agree() -> None:
    inputs = sample(2000, 17)
    assert_threads_agree(lambda: ldie_ext.keypoint_targets(*inputs, (56, 56)))
