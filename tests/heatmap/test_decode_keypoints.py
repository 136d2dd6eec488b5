"""decode_keypoints against the plain reference on every backend, and against torchvision."""

from __future__ import annotations

import pytest
import reference.keypoints as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def sample(boxes: int, keypoints: int, height: int, width: int, *, longest: float = 70.0) -> tuple[Tensor, Tensor]:
    """Heatmaps with a peak each over noise, and boxes from below a pixel to `longest`."""
    row, column = torch.rand(2, boxes, keypoints, 1, 1) * torch.tensor([height, width]).view(2, 1, 1, 1, 1)
    distance = (torch.arange(height)[:, None] - row) ** 2 + (torch.arange(width) - column) ** 2
    corner = torch.rand(boxes, 2) * 100 - 20
    regions = torch.cat([corner, corner + torch.rand(boxes, 2) * longest], dim=1)
    return 8 * torch.exp(-distance / 9) + torch.randn(boxes, keypoints, height, width), regions


def assert_decodes(actual: tuple[Tensor, Tensor], heatmaps: Tensor, boxes: Tensor, tolerance: float) -> None:
    """The pixel found is a greatest one, up to rounding, and its place and score are right."""
    keypoints, scores = (tensor.cpu() for tensor in actual)
    for n, k in torch.cartesian_prod(*map(torch.arange, scores.shape)).tolist():
        resized, step = reference.resized_heatmap(heatmaps[n, k], boxes[n])
        pixel = ((keypoints[n, k, :2] - boxes[n, :2]) / step - 0.5).round().long()
        value = resized[pixel[1], pixel[0]]
        torch.testing.assert_close(value, resized.max(), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(scores[n, k], value, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(keypoints[n, k, :2], (pixel + 0.5) * step + boxes[n, :2], rtol=1e-5, atol=1e-4)
    assert (keypoints[..., 2] == 1).all()


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for shape in ((4, 3, 14, 14), (3, 2, 5, 20), (3, 2, 1, 1), (2, 2, 1, 7), (2, 1, 2, 3)):
        heatmaps, boxes = (tensor.to(dtype) for tensor in sample(*shape))
        actual = ldie_ext.decode_keypoints(heatmaps.to(backend.device), boxes.to(backend.device))
        assert_decodes(actual, heatmaps, boxes, 1e-5 if dtype is torch.float32 else 1e-12)


@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0, 1e4])
def test_noise_and_flat_maps(backend: Backend, spread: float) -> None:
    """Where many pixels come close to the greatest, none that could be it is passed over."""
    heatmaps, boxes = sample(3, 2, 10, 12, longest=40.0)
    heatmaps = 100 + torch.randn_like(heatmaps) * spread
    actual = ldie_ext.decode_keypoints(heatmaps.to(backend.device), boxes.to(backend.device))
    assert_decodes(actual, heatmaps, boxes, 2e-6)


@pytest.mark.sanitize
@pytest.mark.parametrize(("height", "width"), [(70, 75), (3, 4200)])
def test_more_cells_than_are_listed_at_a_time(backend: Backend, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.randn(2, 2, height, width, generator=generator)
    heatmaps[1] = 0
    heatmaps[0, 1, -1, -1] = 9
    boxes = torch.tensor([[0.0, 0, 90, 60], [5, 5, 30, 9]])
    expected = torch.ops.ldie_ext.decode_keypoints(heatmaps, boxes, False)
    actual = ldie_ext.decode_keypoints(heatmaps.to(backend.device), boxes.to(backend.device))
    for own, other in zip(actual, expected, strict=True):
        assert_same(own.cpu(), other)


def test_first_of_equal_pixels(backend: Backend) -> None:
    heatmaps = torch.zeros(1, 2, 6, 6, device=backend.device)
    heatmaps[0, 0, 4, 1] = heatmaps[0, 0, 1, 4] = heatmaps[0, 0, 4, 4] = 3.0
    keypoints, scores = ldie_ext.decode_keypoints(heatmaps, torch.tensor([[0.0, 0.0, 6.0, 6.0]], device=backend.device))
    assert_same(keypoints[0].cpu(), torch.tensor([[4.5, 1.5, 1.0], [0.5, 0.5, 1.0]]))
    assert scores.tolist() == [[3.0, 0.0]]


def test_matches_torchvision() -> None:
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    for number in range(60):
        side = 2 + number % 55  # a single cell is as great everywhere but for rounding
        heatmaps, boxes = sample(4, 3, side, side, longest=4.0 * number + 1)
        keypoints, scores = ldie_ext.decode_keypoints(heatmaps, boxes)
        expected, expected_scores = heads.heatmaps_to_keypoints(heatmaps, boxes)
        torch.testing.assert_close(keypoints, expected, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores, expected_scores, rtol=1e-5, atol=1e-5)


def test_softmax_score(backend: Backend) -> None:
    """detectron2's: against the sum over the map before it is resized."""
    heatmaps, boxes = (tensor.to(backend.device) for tensor in sample(3, 2, 9, 9))
    keypoints, scores = ldie_ext.decode_keypoints(heatmaps, boxes, score="softmax")
    expected, logits = ldie_ext.decode_keypoints(heatmaps, boxes)
    assert_same(keypoints, expected)
    torch.testing.assert_close(scores, (logits - heatmaps.flatten(2).logsumexp(2)).exp(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("score", ["logit", "softmax"])
def test_dtypes(backend: Backend, dtype: torch.dtype, score: str) -> None:
    heatmaps, boxes = (tensor.to(dtype).to(backend.device) for tensor in sample(3, 2, 8, 8))
    actual = ldie_ext.decode_keypoints(heatmaps, boxes, score=score)
    wider = torch.float64 if dtype is torch.float64 else torch.float32
    expected = ldie_ext.decode_keypoints(heatmaps.to(wider), boxes.to(wider), score=score)
    assert_same(actual, tuple(tensor.to(dtype) for tensor in expected))


def test_degenerate_boxes_and_values(backend: Backend) -> None:
    nan, inf = float("nan"), float("inf")
    heatmaps = torch.zeros(5, 1, 4, 4)
    heatmaps[:, 0, 1, 2] = 5.0
    boxes = torch.tensor([[3, 3, 3, 3], [9, 9, 1, 1], [nan, 0, 4, 4], [0, 0, inf, 4], [0, 0, 1e30, 4]])
    keypoints, scores = ldie_ext.decode_keypoints(heatmaps.to(backend.device), boxes.to(backend.device))
    assert keypoints[:2, 0].tolist() == [[3.5, 3.5, 1], [9.5, 9.5, 1]]
    assert keypoints[2, 0, 0].isnan()
    assert keypoints[2:, 0, 1].tolist() == [1.5] * 3
    assert keypoints[3, 0, 0] == inf
    torch.testing.assert_close(keypoints[4, 0, 0].item(), 0.625e30, rtol=1e-3, atol=0)
    assert (scores[3:] - 5).abs().max() < 1e-3

    heatmaps[0], heatmaps[1], heatmaps[2, 0, 1, 2], heatmaps[3, 0, 3, 0] = nan, -inf, inf, nan
    keypoints, scores = ldie_ext.decode_keypoints(
        heatmaps.to(backend.device), boxes[4:].new_tensor([[0, 0, 8, 8]]).expand(5, 4).to(backend.device)
    )
    assert scores[:2].isnan().all()
    assert keypoints[:2, 0].tolist() == [[0.5, 0.5, 1]] * 2
    assert 3 < scores[3] < 5


def test_empty_and_non_contiguous(backend: Backend) -> None:
    heatmaps, boxes = (tensor.to(backend.device) for tensor in sample(5, 3, 6, 8))
    keypoints, scores = ldie_ext.decode_keypoints(heatmaps[:0], boxes[:0])
    assert (keypoints.shape, scores.shape) == ((0, 3, 3), (0, 3))
    assert ldie_ext.decode_keypoints(heatmaps[:, :0], boxes)[0].shape == (5, 0, 3)
    strided = heatmaps.transpose(1, 3).contiguous().transpose(1, 3), boxes.t().contiguous().t()
    assert not strided[0].is_contiguous()
    assert_same(ldie_ext.decode_keypoints(*strided), ldie_ext.decode_keypoints(heatmaps, boxes))


def test_gradient_is_refused(backend: Backend) -> None:
    heatmaps, boxes = (tensor.to(backend.device) for tensor in sample(1, 1, 4, 4))
    with pytest.raises(RuntimeError, match="decode_keypoints is not differentiable"):
        ldie_ext.decode_keypoints(heatmaps.requires_grad_(), boxes)[1].sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    heatmaps, boxes = (tensor.to(backend.device) for tensor in sample(4, 2, 3, 3))
    call = ldie_ext.decode_keypoints
    with pytest.raises(RuntimeError, match=r"heatmaps must have shape \[N, K, H, W\], got \[2, 3, 3\]"):
        call(heatmaps[0], boxes)
    with pytest.raises(RuntimeError, match="heatmaps must be float32"):
        call(heatmaps.long(), boxes)
    with pytest.raises(RuntimeError, match=r"heatmaps must have cells, got \[4, 2, 0, 3\]"):
        call(heatmaps[:, :, :0], boxes)
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], one per row of heatmaps, got \[3, 4\]"):
        call(heatmaps, boxes[1:])
    with pytest.raises(RuntimeError, match="boxes must be float32, got"):
        call(heatmaps, boxes.double())
    with pytest.raises(ValueError, match="score must be one of"):
        call(heatmaps, boxes, score="probability")


def test_dispatcher_contract(backend: Backend) -> None:
    heatmaps, boxes = (tensor.to(backend.device) for tensor in sample(3, 2, 5, 5))
    for softmax in (False, True):
        torch.library.opcheck(backend.op("decode_keypoints"), (heatmaps, boxes, softmax))


def test_compiles(backend: Backend) -> None:
    inputs = [tensor.to(backend.device) for tensor in sample(3, 2, 5, 5)]
    assert_compiles(ldie_ext.decode_keypoints, *inputs)


def test_threads_agree() -> None:
    heatmaps, boxes = sample(30, 17, 28, 28)
    assert_threads_agree(lambda: ldie_ext.decode_keypoints(heatmaps, boxes, score="softmax"))
