"""While patched, dtypes of results are torchvision's, also under autocast, and what it refuses is an error still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_checks import random_boxes
from torch import Tensor

from ldie_ext.compat.torchvision import patched

ops = pytest.importorskip("torchvision").ops
from torchvision.models.detection._utils import BoxCoder  # noqa: E402

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
RANDOM = torch.Generator().manual_seed(0)
FEATURES = {"0": torch.rand(2, 4, 32, 32, generator=RANDOM), "1": torch.rand(2, 4, 16, 16, generator=RANDOM)}
CORNERS, SIDES = torch.randint(64, (12, 2), generator=RANDOM), torch.randint(16, 65, (12, 2), generator=RANDOM)
BOXES = torch.cat([CORNERS, CORNERS + SIDES], dim=1).float()  # whole pixels up to 128, exact in all dtypes
ROWS = torch.arange(12)
CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))

CALLS: dict[str, Callable[[torch.dtype], Tensor]] = {
    "MultiScaleRoIAlign": lambda dtype: pool({name: level.to(dtype) for name, level in FEATURES.items()}),
    "decode": lambda dtype: CODER.decode_single((BOXES / 100).to(dtype), BOXES),
    "deform_conv2d": lambda dtype: ops.deform_conv2d(
        FEATURES["0"].to(dtype), torch.zeros(2, 18, 30, 30, dtype=dtype), torch.ones(2, 4, 3, 3, dtype=dtype)
    ),
    "encode": lambda dtype: CODER.encode_single(BOXES.to(dtype), BOXES),
    "focal": lambda dtype: ops.sigmoid_focal_loss(FEATURES["0"].to(dtype), FEATURES["0"].round()),
    "focal 16 bit": lambda dtype: ops.sigmoid_focal_loss(FEATURES["0"].to(dtype), FEATURES["0"].round().to(dtype)),
    "iou": lambda dtype: ops.box_iou(BOXES.to(dtype), BOXES.to(dtype)),
    "iou of two dtypes": lambda dtype: ops.generalized_box_iou(BOXES.to(dtype), BOXES),
    "nms": lambda dtype: ops.nms(BOXES.to(dtype), ROWS.to(dtype), 0.5),
    "nms batched": lambda dtype: ops.batched_nms(
        BOXES.to(dtype), torch.arange(12).to(dtype), torch.arange(12) % 2, 0.5
    ),
    "roi_align": lambda dtype: ops.roi_align(FEATURES["0"].to(dtype), [BOXES / 4] * 2, 3),
}

REFUSED: dict[str, Callable[[], Any]] = {
    "alpha": lambda: ops.sigmoid_focal_loss(torch.rand(3), torch.rand(3), alpha=2),
    "format": lambda: ops.box_iou(BOXES, BOXES, fmt="zz"),
    "image shapes": lambda: ops.MultiScaleRoIAlign(["0"], 3, 2)(FEATURES, [BOXES, BOXES], []),
    "offsets": lambda: ops.deform_conv2d(torch.rand(1, 4, 5, 5), torch.rand(1, 7, 3, 3), torch.rand(2, 4, 3, 3)),
    "reduction": lambda: ops.sigmoid_focal_loss(torch.rand(3), torch.rand(3), reduction="x"),
    "rois": lambda: ops.roi_align(FEATURES["0"], BOXES, 3),
    "scores": lambda: ops.nms(BOXES, torch.rand(3), 0.5),
    "shape": lambda: ops.box_iou(torch.rand(3, 5), BOXES),
    "targets": lambda: ops.sigmoid_focal_loss(torch.rand(3), torch.rand(4)),
}


def pool(features: dict[str, Tensor]) -> Tensor:
    module = ops.MultiScaleRoIAlign(["0", "1"], 3, 2)
    module(FEATURES, [BOXES, BOXES], [(128, 128)] * 2)  # finds the scales
    return module(features, [BOXES, BOXES], [(128, 128)] * 2)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_dtype_is_torchvisions(name: str, dtype: torch.dtype, autocast: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        with patched():
            found = CALLS[name](dtype)
        assert found.isfinite().all()
        try:
            expected = CALLS[name](dtype)
        except RuntimeError:
            return  # torchvision has no kernel for this dtype; ours gives a result
    tolerance = {torch.float16: 5e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-5)
    stepwise = name in ("decode", "encode") and dtype.itemsize == 2  # torchvision rounds pixels after each step
    scale = max(1.0, expected.abs().max().item()) if stepwise else 1.0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_arguments_raise(name: str) -> None:
    kinds = (AssertionError, RuntimeError, ValueError)
    with pytest.raises(kinds):
        REFUSED[name]()
    with patched(), pytest.raises(kinds):
        REFUSED[name]()


def test_other_forms_are_left_to_torchvision() -> None:
    batches = random_boxes(10, 50, 50).view(2, 5, 4)
    targets = torch.rand(7, requires_grad=True)
    calls: list[Callable[[], Tensor]] = [
        lambda: ops.box_iou(batches, batches),
        lambda: ops.complete_box_iou(batches, batches),
        lambda: ops.box_iou(BOXES, BOXES, "xywh"),
        lambda: torch.autograd.grad(ops.sigmoid_focal_loss(torch.ones(7), targets, reduction="sum"), targets)[0],
    ]
    for call in calls:
        expected = call()
        with patched():
            torch.testing.assert_close(call(), expected, rtol=0, atol=0)


def test_quantized_tensors_are_left_to_torchvision() -> None:
    def quantize(values: Tensor, scale: float) -> Tensor:
        return torch.quantize_per_tensor(values, scale, 0, torch.quint8)

    boxes, scores = quantize(BOXES, 1.0), quantize(torch.rand(12), 0.01)
    features = quantize(FEATURES["0"][:1], 0.01)  # qroi_align takes one image
    rois = quantize(torch.cat([torch.zeros(12, 1), BOXES / 4], dim=1), 1.0)
    for call in (lambda: ops.nms(boxes, scores, 0.5), lambda: ops.roi_align(features, rois, 3).int_repr()):
        expected = call()
        with patched():
            torch.testing.assert_close(call(), expected, rtol=0, atol=0)


def test_nothing_to_suppress_needs_no_other_arguments() -> None:
    for empty in (torch.empty(0), torch.empty(0, 4)):
        expected = ops.batched_nms(empty, None, None, None)
        with patched():
            found = ops.batched_nms(empty, None, None, None)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert found.dtype == torch.int64


#: What a caller may match: the class, and words of the message.
MESSAGES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ops.roi_align(FEATURES["0"], BOXES, 3), AssertionError, "The boxes tensor shape is not correct"),
    (
        lambda: ops.roi_align(FEATURES["0"], [BOXES[:, :3]], 3),
        AssertionError,
        "The shape of the tensor in the boxes list is not correct",
    ),
    (lambda: convolve(offset=1), RuntimeError, "the shape of the offset tensor at dimension 1 is not valid"),
    (lambda: convolve(mask=2), RuntimeError, r"mask\.shape\[1\] is not valid"),
    (lambda: ops.sigmoid_focal_loss(torch.rand(3), torch.rand(3), alpha=2), ValueError, "Invalid alpha value: 2"),
    (
        lambda: ops.sigmoid_focal_loss(torch.rand(3), torch.rand(3), reduction="x"),
        ValueError,
        "Invalid Value for arg 'reduction'",
    ),
    (lambda: ops.DeformConv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by groups"),
    (
        lambda: ops.MultiScaleRoIAlign(["0"], 3, 2)(FEATURES, [BOXES, BOXES], []),
        ValueError,
        "images list should not be empty",
    ),
]


def convolve(offset: int = 18, mask: int = 9) -> Tensor:
    inputs = torch.rand(1, 4, 5, 5), torch.rand(1, offset, 3, 3), torch.rand(2, 4, 3, 3)
    return ops.deform_conv2d(*inputs, mask=torch.rand(1, mask, 3, 3))


@pytest.mark.parametrize(("call", "kind", "words"), MESSAGES)
def test_errors_match_as_torchvisions(call: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()
    with patched(), pytest.raises(kind, match=words):
        call()
