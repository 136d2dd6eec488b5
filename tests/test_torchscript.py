"""Modules and functions with torchvision's names under torch.jit and torch.fx, as torchvision's are."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from op_checks import assert_same, random_boxes
from torch import Tensor, nn

import ldie_ext
from ldie_ext.compat import torchvision as compat
from ldie_ext.nn import DeformConv2d, MultiScaleRoIAlign, RoIAlign

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
SIZES = [(128, 160), (120, 150)]
TRANSFORMS: dict[str, Callable[[nn.Module], nn.Module]] = {"script": torch.jit.script, "fx": torch.fx.symbolic_trace}
transforms = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


def pyramid() -> dict[str, Tensor]:
    return {str(level): torch.randn(2, 3, 32 // 2**level, 40 // 2**level) for level in range(3)}


def boxes(first: int = 6, second: int = 3) -> list[Tensor]:
    return [random_boxes(count, 128, 160) for count in (first, second)]


@transforms
@pytest.mark.parametrize("output_size", [3, (2, 3), [3, 2]])
def test_roi_align(transform: Callable[[nn.Module], nn.Module], output_size: int | list[int]) -> None:
    pool, features = RoIAlign(output_size, 0.25, 2, aligned=True), pyramid()["0"]
    rois = torch.cat([torch.tensor([0.0] * 6 + [1.0] * 3)[:, None], torch.cat(boxes())], dim=1)
    for regions in (rois, boxes()):
        assert_same(transform(pool)(features, regions), pool(features, regions))


@transforms
@pytest.mark.parametrize("levels", ["torchvision", "detectron2", "mmdet"])
def test_multiscale_roi_align(transform: Callable[[nn.Module], nn.Module], levels: str) -> None:
    pool, features = MultiScaleRoIAlign(["0", "1", "2"], 3, 2, canonical_scale=60, levels=levels), pyramid()
    regions = boxes()
    expected = pool(features, regions, SIZES)
    transformed = transform(MultiScaleRoIAlign(["0", "1", "2"], 3, 2, canonical_scale=60, levels=levels))
    assert_same(transformed(features, regions, SIZES), expected)
    for refused in (features, {"other": features["0"]}):
        with pytest.raises((ValueError, torch.jit.Error), match=r"images list should not be empty|no feature map of"):
            transformed(refused, regions, [])


def test_symbolic_tracing_leaves_the_module_as_it_was() -> None:
    pool = MultiScaleRoIAlign(["0", "1"], 3, 2)
    pool(pyramid(), boxes(), SIZES)
    torch.fx.symbolic_trace(pool)
    assert pool.scales == [0.25, 0.125]


@transforms
@pytest.mark.parametrize("bias", [True, False])
def test_deform_conv2d(transform: Callable[[nn.Module], nn.Module], bias: bool) -> None:
    layer = DeformConv2d(4, 6, (3, 1), padding=(1, 0), groups=2, bias=bias)
    inputs = torch.randn(2, 4, 8, 9), torch.randn(2, 6, 8, 9), torch.rand(2, 3, 8, 9)
    assert_same(transform(layer)(*inputs), layer(*inputs))


class Pooled(nn.Module):
    """What torch.jit.trace takes: tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign(["0", "1"], 3, 2, canonical_scale=60)

    def forward(self, fine: Tensor, coarse: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return self.pool({"0": fine, "1": coarse}, [first, second], SIZES)


def test_traced_pooling_serves_other_numbers_of_boxes() -> None:
    fine, coarse, _ = pyramid().values()
    traced = torch.jit.trace(Pooled(), (fine, coarse, *boxes()), check_trace=False)
    for counts in ((2, 7), (0, 4), (5, 0)):
        regions = boxes(*counts)
        assert_same(traced(fine, coarse, *regions), Pooled()(fine, coarse, *regions))


@pytest.mark.parametrize("library", [ldie_ext, compat])
@pytest.mark.parametrize("name", ["nms", "roi_align", "deform_conv2d"])
def test_functions_are_scriptable(library: ModuleType, name: str) -> None:
    assert f"ldie_ext::{name}(" in str(torch.jit.script(getattr(library, name)).inlined_graph)


def test_gradients_of_scripted_code() -> None:
    features, regions = pyramid()["0"].requires_grad_(), boxes()
    scripted = torch.jit.script(RoIAlign(3, 0.25, 2))
    (found,) = torch.autograd.grad(scripted(features, regions).square().sum(), features)
    (expected,) = torch.autograd.grad(ldie_ext.roi_align(features, regions, 3, 0.25, 2).square().sum(), features)
    assert_same(found, expected)
