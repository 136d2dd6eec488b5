"""Every replaced name gives torchvision's results: 500 random cases each, in all dtypes that torchvision takes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from op_checks import random_boxes
from torch import Tensor

from ldie_ext.compat import torchvision as compat

tv = pytest.importorskip("torchvision")
from torchvision.models.detection import _utils, anchor_utils  # noqa: E402

PEER = SimpleNamespace(
    **{name: getattr(tv.ops, name) for name in compat.__all__ if hasattr(tv.ops, name)},
    AnchorGenerator=anchor_utils.AnchorGenerator,
    BoxCoder=_utils.BoxCoder,
    Matcher=_utils.Matcher,
)
CASES = 500
EXACT = [torch.float32, torch.float64]
FLOATS = [*EXACT, torch.float16, torch.bfloat16]
BOXES = [*FLOATS, torch.int16, torch.int32, torch.int64]  # in uint8 torchvision wraps around
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def pick(*choices: Any) -> Any:
    return choices[int(torch.randint(len(choices), ()))]


def boxes(dtype: torch.dtype, most: int = 30) -> Tensor:
    """Up to most boxes; one case in three is on whole pixels, where boxes coincide and touch."""
    made = random_boxes(int(torch.randint(most + 1, ())), 60, 60)
    return (made.round() if pick(True, False, False) else made).to(dtype)


def nms(ops: Any, dtype: torch.dtype) -> Any:
    of = boxes(dtype, 300)
    return ops.nms(of, torch.rand(len(of), dtype=dtype), pick(0.0, 0.3, 0.5, 0.7, 1.0))


def batched_nms(ops: Any, dtype: torch.dtype) -> Any:
    of = boxes(dtype, pick(100, 1200))  # torchvision goes another way from 1,000 on
    of = of - of.min() if len(of) else of  # and mixes groups below 0
    groups = torch.randint(0, 5, (len(of),)).to(pick(torch.int64, torch.int32, torch.float32))
    scores = torch.rand(len(of), dtype=dtype)
    scores = scores.mul(50).round() if pick(True, False) else scores  # with ties
    return ops.batched_nms(of, scores, groups, pick(0.3, 0.5, 0.7))


def sigmoid_focal_loss(ops: Any, dtype: torch.dtype) -> Any:
    inputs = torch.randn(pick((), (7,), (3, 5), (0, 4), (2, 3, 4))) * 4
    targets = (torch.rand(inputs.shape) < 0.3).to(dtype if dtype == torch.float64 else pick(dtype, torch.float32))
    alpha, gamma, reduction = pick(0.25, 0.0, -1), pick(2, 0, 1.5), pick("none", "mean", "sum")
    return ops.sigmoid_focal_loss(inputs.to(dtype), targets, alpha, gamma, reduction)


def roi_align(ops: Any, dtype: torch.dtype) -> Any:
    features = torch.rand(2, 3, 12, 14).to(dtype)
    rois = random_boxes(8, 100, 100).to(dtype)
    rois = list(rois.split(4)) if pick(True, False) else torch.cat([torch.randint(2, (8, 1)).to(dtype), rois], dim=1)
    size, scale, ratio, aligned = pick(3, (2, 5)), pick(0.125, 0.1), pick(-1, 0, 1, 2), pick(True, False)
    if dtype == torch.float16:
        scale = 0.125  # torchvision computes coordinates in 16 bits: only powers of two leave their places alone
        rois = [r.round() for r in rois] if isinstance(rois, list) else rois.round()
    return ops.roi_align(features, rois, size, scale, ratio, aligned)


def multiscale(ops: Any, dtype: torch.dtype) -> Any:
    features = {str(i): torch.rand(2, 3, 64 // 2**i, 80 // 2**i).to(dtype) for i in range(4)}
    features["same"] = torch.rand_like(features["2"])  # MobileNet's pyramid has two maps of one scale
    names = pick(["0", "1", "2", "3"], ["1", "2"], ["2"], ["1", "2", "same"], ["2", "3", "same"])
    pool = ops.MultiScaleRoIAlign(names, pick(3, (2, 4)), pick(2, 0), canonical_scale=pick(224, 64))
    rois = [random_boxes(6, 256, 320).to(dtype) for _ in range(2)]
    return pool(features, rois, [(256, 320), (200, 310)])


def deform_conv2d(ops: Any, dtype: torch.dtype) -> Any:
    groups, stride, padding, dilation = pick(1, 2), pick(1, 2), pick(0, 1), pick(1, 2)
    layer = ops.DeformConv2d(4, 6, 3, stride, padding, dilation, groups, bias=pick(True, False)).to(dtype)
    height, width = ((side + 2 * padding - 2 * dilation - 1) // stride + 1 for side in (9, 11))
    input, offset = torch.randn(2, 4, 9, 11).to(dtype), torch.randn(2, 18, height, width).to(dtype) * 2
    mask = torch.rand(2, 9, height, width).to(dtype) if pick(True, False) else None
    return layer(input, offset, mask)


def matcher(ops: Any, dtype: torch.dtype) -> Any:
    quality = torch.rand(pick(1, 4), pick(1, 30)).mul(10).round().div(10).to(dtype)  # with ties
    return ops.Matcher(pick(0.7, 0.5), pick(0.3, 0.5), pick(True, False))(quality)


def box_coder(ops: Any, dtype: torch.dtype) -> Any:
    coder = ops.BoxCoder(pick((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)))
    sides = torch.tensor([0, 0, 1, 1])
    proposals = [(random_boxes(count, 60, 60) + sides).to(dtype) for count in (3, 0, 5)]
    reference = [(boxes + torch.tensor([0, 1, 2, 3])).to(dtype) for boxes in proposals]
    deltas = torch.randn(8, 4 * pick(1, 3)).to(dtype)
    if ops is PEER and dtype not in EXACT:  # it rounds after each step, ours once
        reference, proposals = [b.float() for b in reference], [b.float() for b in proposals]
        widened = box_coder_results(coder, reference, proposals, deltas.float())
        return [result.to(dtype) for result in widened]
    return box_coder_results(coder, reference, proposals, deltas)


def box_coder_results(coder: Any, reference: list[Tensor], proposals: list[Tensor], deltas: Tensor) -> list[Tensor]:
    return [*coder.encode(reference, proposals), coder.decode(deltas, proposals)]


def anchors(ops: Any, dtype: torch.dtype) -> Any:
    generator = ops.AnchorGenerator(pick(((32,), (64, 90)), (16, 50)), pick((0.5, 1.0), ((1.0, 2.0), (0.3,))))
    maps = [torch.empty(2, 1, pick(5, 8), pick(4, 7)).to(dtype), torch.empty(2, 1, 3, 2).to(dtype)]
    return generator(SimpleNamespace(tensors=torch.empty(2, 3, 64, 48), image_sizes=[(64, 40), (60, 48)]), maps)


def overlap(name: str) -> Callable[[Any, torch.dtype], Any]:
    return lambda ops, dtype: getattr(ops, name)(boxes(dtype), boxes(dtype))


SWEEPS: dict[str, tuple[Callable[[Any, torch.dtype], Any], list[torch.dtype]]] = {
    "AnchorGenerator": (anchors, [torch.float32]),
    "BoxCoder": (box_coder, FLOATS),
    "DeformConv2d": (deform_conv2d, EXACT),
    "Matcher": (matcher, EXACT),
    "MultiScaleRoIAlign": (multiscale, EXACT),
    "batched_nms": (batched_nms, EXACT),
    "box_iou": (overlap("box_iou"), BOXES),
    "complete_box_iou": (overlap("complete_box_iou"), BOXES),
    "distance_box_iou": (overlap("distance_box_iou"), BOXES),
    "generalized_box_iou": (overlap("generalized_box_iou"), BOXES),
    "nms": (nms, EXACT),
    "roi_align": (roi_align, [*EXACT, torch.float16]),
    "sigmoid_focal_loss": (sigmoid_focal_loss, FLOATS),
}
SWITCH = {"patch", "patched", "unpatch"}
SAME = {"DeformConv2d": "deform_conv2d", "RoIAlign": "roi_align"}  # two names of one computation


def test_every_name_is_swept() -> None:
    assert {*compat.__all__} - SWITCH == {*SWEEPS, *SAME.keys(), *SAME.values()}


@pytest.mark.parametrize("name", SWEEPS)
def test_equals_torchvision(name: str) -> None:
    make, dtypes = SWEEPS[name]
    for number in range(CASES):
        dtype = dtypes[number % len(dtypes)]
        torch.manual_seed(number)
        expected = make(PEER, dtype)
        torch.manual_seed(number)
        found = make(compat, dtype)
        tolerance = TOLERANCES.get(dtype, 2e-5)
        close = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
        torch.testing.assert_close(found, expected, **close, msg=lambda text, n=number: f"case {n}: {text}")
