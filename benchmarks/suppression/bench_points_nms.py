"""points_nms: the category scores of SOLO's levels, 80 classes, and of one large map."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SHAPES = [(1, 80, 40, 40), (16, 80, 40, 40), (16, 80, 12, 12), (1, 80, 200, 336)]


def composed(scores: Tensor, kernel: int) -> Tensor:
    """Pool, compare, multiply, as the authors' code does."""
    height, width = scores.shape[2:]
    greatest = torch.nn.functional.max_pool2d(scores, kernel, stride=1, padding=1)[..., :height, :width]
    return scores * (greatest == scores)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", [2, 3])
def bench_points_nms(measure: harness.Measure, kernel: int, shape: tuple[int, ...]) -> None:
    scores = torch.rand(shape, device=measure.device)
    measure(
        f"{'x'.join(map(str, shape))}, kernel {kernel}",
        ours=lambda: ldie_ext.points_nms(scores, kernel=kernel),
        composed=lambda: composed(scores, kernel),
        read_bytes=harness.bytes_of(scores),
    )


def bench_points_nms_half(measure: harness.Measure) -> None:
    scores = torch.rand(SHAPES[1], device=measure.device).half()
    measure(
        f"{'x'.join(map(str, SHAPES[1]))}, kernel 2, float16",
        ours=lambda: ldie_ext.points_nms(scores),
        composed=lambda: composed(scores, 2),
        read_bytes=harness.bytes_of(scores),
    )
