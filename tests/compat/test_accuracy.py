"""In float32 no op is farther from the result in float64 than torchvision's, but for one rounding; gradients too."""

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
from torchvision.models.detection import _utils  # noqa: E402

PEER = SimpleNamespace(
    **{name: getattr(tv.ops, name) for name in compat.__all__ if hasattr(tv.ops, name)}, BoxCoder=_utils.BoxCoder
)
CASES = 8


def with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result and the gradients of the inputs, for one random gradient of the result."""
    inputs = tuple(values.requires_grad_() for values in inputs)
    result = function(*inputs)
    gradient = torch.randn(result.shape).to(result.dtype)
    return [result.detach(), *torch.autograd.grad(result, inputs, gradient)]


def pool(ops: Any, dtype: torch.dtype, rois: list[Tensor], canonical_scale: int) -> list[Tensor]:
    maps = [torch.randn(2, 8, 64 // 2**level, 80 // 2**level).to(dtype) for level in range(3)]
    pooler = ops.MultiScaleRoIAlign(["0", "1", "2"], 7, 2, canonical_scale=canonical_scale)
    rois = [boxes.to(dtype) for boxes in rois]

    def pooled(*maps: Tensor) -> Tensor:
        return pooler({str(level): features for level, features in enumerate(maps)}, rois, [(256, 320)] * 2)

    return with_gradients(pooled, *maps)


def pool_anywhere(ops: Any, dtype: torch.dtype) -> list[Tensor]:
    return pool(ops, dtype, [random_boxes(60, 256, 320) for _ in range(2)], 56)


def pool_at_exact_places(ops: Any, dtype: torch.dtype) -> list[Tensor]:
    """Samples at binary fractions of cells: what is rounded is the sums alone, elsewhere mostly the coordinates."""
    corners = [torch.randint(0, 100, (60, 2)).float() for _ in range(2)]
    sides = [28.0 * torch.randint(1, 5, (60, 2)) for _ in range(2)]
    rois = [torch.cat([low, low + side], dim=1) for low, side in zip(corners, sides, strict=True)]
    return pool(ops, dtype, rois, 112)


def code(ops: Any, dtype: torch.dtype) -> list[Tensor]:
    coder = ops.BoxCoder((10.0, 10.0, 5.0, 5.0))
    proposals, reference = (random_boxes(500, 800, 1216).to(dtype) + torch.tensor([0, 0, 1, 1]) for _ in range(2))
    deltas = torch.randn(500, 4).to(dtype)
    decode = with_gradients(lambda deltas: coder.decode_single(deltas, proposals), deltas)
    return [coder.encode_single(reference, proposals), *decode]


def convolve(ops: Any, dtype: torch.dtype) -> list[Tensor]:
    shapes = (2, 16, 20, 24), (2, 18, 20, 24), (8, 16, 3, 3)
    return with_gradients(
        lambda input, offset, weight: ops.deform_conv2d(input, offset, weight, padding=1),
        *(torch.randn(shape).to(dtype) for shape in shapes),
    )


def focus(ops: Any, dtype: torch.dtype) -> list[Tensor]:
    inputs, targets = torch.randn(500, 91) * 4, (torch.rand(500, 91) < 0.1).to(dtype)
    return with_gradients(lambda inputs: ops.sigmoid_focal_loss(inputs, targets), inputs.to(dtype))


def overlap(name: str) -> Callable[[Any, torch.dtype], list[Tensor]]:
    return lambda ops, dtype: with_gradients(
        getattr(ops, name), *(random_boxes(40, 60, 60).to(dtype) + torch.tensor([0, 0, 1, 1]) for _ in range(2))
    )


MAKERS = {
    "BoxCoder": code,
    "MultiScaleRoIAlign": pool_anywhere,
    "MultiScaleRoIAlign, exact places": pool_at_exact_places,
    "complete_box_iou": overlap("complete_box_iou"),
    "deform_conv2d": convolve,
    "distance_box_iou": overlap("distance_box_iou"),
    "generalized_box_iou": overlap("generalized_box_iou"),
    "sigmoid_focal_loss": focus,
}


@pytest.mark.parametrize("name", MAKERS)
def test_as_accurate_as_torchvision(name: str) -> None:
    ours, theirs = errors(name, compat), errors(name, PEER)
    assert (ours <= 1.1 * theirs + 2**-24).all(), f"{ours.tolist()}, torchvision's {theirs.tolist()}"


def errors(name: str, ops: Any) -> Tensor:
    """Of each result and gradient, relative to its norm: the root mean square over all cases."""
    squares = [
        [relative_error(*pair) ** 2 for pair in zip(made(name, ops, torch.float32, n), exact, strict=True)]
        for n, exact in enumerate(made(name, PEER, torch.float64, n) for n in range(CASES))
    ]
    return torch.tensor(squares).mean(dim=0).sqrt()


def made(name: str, ops: Any, dtype: torch.dtype, number: int) -> list[Tensor]:
    torch.manual_seed(number)
    return MAKERS[name](ops, dtype)


def relative_error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()
