"""multiscale_roi_align against the plain reference on every backend, and against torchvision's module."""

from __future__ import annotations

from typing import Any

import pytest
import reference.roi as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same
from roi.cases import make_boxes
from torch import Tensor

import ldie_ext
from ldie_ext import nn

SCALES = [1 / 4, 1 / 8, 1 / 16]
CHOICE = {"canonical_scale": 24.0, "canonical_level": 3}


def make_pyramid(channels: int, batch: int = 2, side: int = 64, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(batch, channels, int(side * scale), int(side * scale) + 3, dtype=dtype) for scale in SCALES]


def on(backend: Backend, tensors: list[Tensor], memory_format: torch.memory_format) -> list[Tensor]:
    return [tensor.to(backend.device, memory_format=memory_format).detach().requires_grad_() for tensor in tensors]


@pytest.mark.sanitize
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("levels", ["torchvision", "detectron2", "mmdet"])
def test_matches_reference(backend: Backend, levels: str, memory_format: torch.memory_format) -> None:
    plain, boxes, offsets = make_pyramid(3), make_boxes(24, 64), torch.tensor([0, 9, 24])
    features = on(backend, plain, memory_format)
    plain = [feature.requires_grad_() for feature in plain]
    for aligned, ratio in ((False, 2), (True, -1)):
        images = [0] * 9 + [1] * 15
        wanted = reference.multiscale_roi_align(
            plain, images, boxes, (7, 5), SCALES, ratio, aligned, rule=levels, **CHOICE
        )
        output = ldie_ext.multiscale_roi_align(
            features, boxes.to(backend.device), offsets.to(backend.device), (7, 5), SCALES, ratio, aligned,
            levels=levels, **CHOICE,
        )  # fmt: skip
        torch.testing.assert_close(output.cpu(), wanted, rtol=2e-5, atol=2e-5)
        tangent = torch.randn_like(wanted)
        grads = torch.autograd.grad(output, features, tangent.to(backend.device))
        wanted_grads = torch.autograd.grad(wanted, plain, tangent, materialize_grads=True)
        for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
            torch.testing.assert_close(grad.cpu(), wanted_grad, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("levels", ["torchvision", "detectron2", "mmdet"])
def test_levels_change_where_the_rules_say(backend: Backend, levels: str) -> None:
    """Sides at, around and a rounding below the powers of two; a map filled with its level's index shows the choice."""
    sides = torch.tensor([1.0, 55.0, 56.0, 111.0, 112.0, 223.0, 224.0, 447.0, 448.0, 896.0, 5000.0])
    sides = torch.cat([sides, sides * (1 - 1e-6), sides * (1 - 1e-7), sides * (1 + 1e-6)])
    boxes = torch.cat([torch.zeros(len(sides), 2), sides[:, None].expand(-1, 2)], dim=1)
    boxes = torch.cat([boxes, torch.tensor([[5.0, 5.0, 5.0, 9.0], [9.0, 2.0, 5.0, 7.0], [9.0, 9.0, 2.0, 2.0]])])
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    features = [torch.full((1, 1, 2000, 1), float(i), device=backend.device).expand(-1, -1, -1, 2000) for i in range(4)]
    features = [feature[:, :, : 8000 // 4 // 2**i, : 8000 // 4 // 2**i] for i, feature in enumerate(features)]
    offsets = torch.tensor([0, len(boxes)])
    output = ldie_ext.multiscale_roi_align(
        features, boxes.to(backend.device), offsets.to(backend.device), 1, scales, 1, levels=levels
    )
    wanted = [float(reference.level_of(box, 4, 2, levels)) for box in boxes]
    assert output.flatten().tolist() == wanted


def test_single_level_is_roi_align(backend: Backend) -> None:
    feature, boxes = torch.randn(2, 3, 9, 12, device=backend.device), make_boxes(6, 24).to(backend.device)
    offsets = torch.tensor([0, 4, 6], device=backend.device)
    wanted = ldie_ext.roi_align(feature, [boxes[:4], boxes[4:]], (2, 3), 0.5, 2, True)
    assert_same(ldie_ext.multiscale_roi_align([feature], boxes, offsets, (2, 3), [0.5], 2, True), wanted)


def test_mixed_formats_and_no_boxes(backend: Backend) -> None:
    features, boxes = make_pyramid(3), make_boxes(6, 64).to(backend.device)
    features = [feature.to(backend.device) for feature in features]
    offsets = torch.tensor([0, 2, 6], device=backend.device)
    wanted = ldie_ext.multiscale_roi_align(features, boxes, offsets, 3, SCALES)
    mixed = [features[0].to(memory_format=torch.channels_last), *features[1:]]
    assert_same(ldie_ext.multiscale_roi_align(mixed, boxes, offsets, 3, SCALES), wanted)
    output = ldie_ext.multiscale_roi_align(features, boxes[:0], offsets * 0, 3, SCALES)
    assert output.shape == (0, 3, 3, 3)


def test_gradients_of_both_orders(backend: Backend) -> None:
    features = [feature.to(backend.device).requires_grad_() for feature in make_pyramid(1, 1, 16, torch.float64)]
    boxes = torch.tensor([[0.0, 0.0, 9.0, 7.0], [3.0, 2.0, 30.0, 30.0]], dtype=torch.float64, device=backend.device)
    offsets = torch.tensor([0, 2], device=backend.device)

    def call(*features: Tensor) -> Tensor:
        return ldie_ext.multiscale_roi_align(features, boxes, offsets, 2, SCALES, 2, **CHOICE)

    assert torch.autograd.gradcheck(call, features)
    assert torch.autograd.gradgradcheck(call, features)


def test_errors_name_the_argument(backend: Backend) -> None:
    features, boxes = make_pyramid(3), make_boxes(6, 64).to(backend.device)
    features = [feature.to(backend.device) for feature in features]
    offsets = torch.tensor([0, 2, 6], device=backend.device)
    call = ldie_ext.multiscale_roi_align
    with pytest.raises(
        RuntimeError, match=r"features\[1\] must have shape \[B, C, H, W\] with B and C of features\[0\]"
    ):
        call([features[0], features[1][:, :2]], boxes, offsets, 2, SCALES[:2])
    with pytest.raises(RuntimeError, match=r"features\[2\] must be float32, got .* float64"):
        call([*features[:2], features[2].double()], boxes, offsets, 2, SCALES)
    with pytest.raises(RuntimeError, match="features must be 1 to 8 tensors, got 9"):
        call(features * 3, boxes, offsets, 2, SCALES * 3)
    with pytest.raises(RuntimeError, match="spatial_scales must have one value for each of the 3 features, got 2"):
        call(features, boxes, offsets, 2, SCALES[:2])
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[K, 4\]"):
        call(features, boxes[:, :3], offsets, 2, SCALES)
    for level in (2**63 - 1, -(2**63), 65):
        with pytest.raises(RuntimeError, match="canonical_level must be from -64 to 64"):
            call(features, boxes, offsets, 2, SCALES, canonical_level=level)
    with pytest.raises(RuntimeError, match="canonical_scale must be above 0"):
        call(features, boxes, offsets, 2, SCALES, canonical_scale=0)
    with pytest.raises(ValueError, match="levels must be one of"):
        call(features, boxes, offsets, 2, SCALES, levels="mmcv")
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to the number of boxes, 6"):
            call(features, boxes, offsets + 1, 2, SCALES)


def test_dispatcher_contract(backend: Backend) -> None:
    features = on(backend, make_pyramid(2, side=32), torch.contiguous_format)
    boxes, offsets = make_boxes(5, 32).to(backend.device), torch.tensor([0, 1, 5], device=backend.device)
    options = (2, 3, False, SCALES, 2, False, 24.0, 3, 2, 1)
    torch.library.opcheck(backend.op("roi_align"), (features, boxes, offsets, *options))


class Pool(torch.nn.Module):
    def forward(self, a: Tensor, b: Tensor, c: Tensor, boxes: Tensor, offsets: Tensor) -> Tensor:
        return ldie_ext.multiscale_roi_align([a, b, c], boxes, offsets, 3, SCALES, 2) * 2


def test_compiles_and_exports(backend: Backend) -> None:
    inputs = (*make_pyramid(2, side=32), make_boxes(5, 32), torch.tensor([0, 1, 5]))
    inputs = tuple(tensor.to(backend.device) for tensor in inputs)
    assert_compiles(Pool(), *inputs)
    count = torch.export.Dim("count", max=4096)
    dynamic = (None, None, None, {0: count}, None)
    exported = torch.export.export(Pool(), inputs, dynamic_shapes=dynamic)
    more = (*inputs[:3], make_boxes(9, 32).to(backend.device), torch.tensor([0, 4, 9], device=backend.device))
    assert_same(exported.module()(*more), Pool()(*more))


def test_modules() -> None:
    features = dict(zip("abc", make_pyramid(3), strict=True))
    boxes, shapes = [make_boxes(4, 64), make_boxes(2, 64)], [(64, 70), (60, 64)]
    pool = nn.MultiScaleRoIAlign(list("abc"), 3, 2)
    wanted = ldie_ext.multiscale_roi_align(
        list(features.values()), torch.cat(boxes), torch.tensor([0, 4, 6]), 3, SCALES, 2
    )
    assert_same(pool({**features, "pool": features["c"]}, boxes, shapes), wanted)
    assert pool.scales == SCALES
    assert "featmap_names=['a', 'b', 'c'], output_size=(3, 3), sampling_ratio=2" in repr(pool)
    with pytest.raises(ValueError, match="no feature map"):
        nn.MultiScaleRoIAlign(["x"], 3, 2)(features, boxes, shapes)
    single = nn.RoIAlign(3, 0.25, 2, aligned=True)
    assert_same(single(features["a"], boxes), ldie_ext.roi_align(features["a"], boxes, 3, 0.25, 2, True))
    assert "output_size=3, spatial_scale=0.25, sampling_ratio=2, aligned=True" in repr(single)


def make_torchvision_case(number: int) -> tuple[dict[str, Tensor], list[Tensor], list[tuple[int, int]], Any]:
    torch.manual_seed(number)
    dtype = torch.float64 if number % 4 == 0 else torch.float32
    height, width = (32 * int(torch.randint(1, 9, ())) for _ in range(2))
    shapes = [(height, width), (height - int(torch.randint(8, ())), width - int(torch.randint(8, ())))]
    features = {str(i): torch.randn(2, 3, height // 4 // 2**i, width // 4 // 2**i, dtype=dtype) for i in range(4)}
    boxes = [make_boxes(int(torch.randint(9, ())), 1.5 * max(height, width), dtype) for _ in range(2)]
    return features, boxes, shapes, (list("0123"), int(torch.randint(1, 9, ())), int(torch.randint(1, 4, ())))


def test_matches_torchvision() -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(500):
        features, boxes, shapes, arguments = make_torchvision_case(number)
        tolerance = 1e-12 if boxes[0].dtype is torch.float64 else 2e-5
        output = nn.MultiScaleRoIAlign(*arguments)(features, boxes, shapes)
        wanted = tv.MultiScaleRoIAlign(*arguments)(features, boxes, shapes)
        torch.testing.assert_close(output, wanted, rtol=tolerance, atol=tolerance)
