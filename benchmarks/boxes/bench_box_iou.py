"""The pairwise overlaps: forward, and forward and backward, at the sizes of DETR, RetinaNet and Faster R-CNN."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

Overlaps = Callable[[Tensor, Tensor], Tensor]
# Of a pair, areas and sides of the boxes known; the gradient takes at least twice as many.
PAIR_FLOPS = {"box_iou": 12, "generalized_box_iou": 22, "complete_box_iou": 34}


def boxes(count: int, device: torch.device) -> Tensor:
    centre, size = torch.rand(2, count, 2) * torch.tensor([800.0, 200.0]).view(2, 1, 1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1).to(device)


def composed_iou(a: Tensor, b: Tensor) -> Tensor:
    """As few operations as it takes."""
    sides = (torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])).relu()
    inter = sides[..., 0] * sides[..., 1]
    of_a, of_b = ((side[:, 2] - side[:, 0]) * (side[:, 3] - side[:, 1]) for side in (a, b))
    return inter / (of_a[:, None] + of_b - inter)


def peer(kind: str) -> Overlaps | None:
    return getattr(harness.tv, kind) if harness.tv else None


@pytest.mark.parametrize("sizes", [(100, 30), (2000, 200), (5000, 500)], ids=str)
@pytest.mark.parametrize("kind", ["box_iou", "generalized_box_iou", "complete_box_iou"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
def bench_box_iou(measure: harness.Measure, kind: str, sizes: tuple[int, int], backward: bool) -> None:
    a, b = (boxes(count, measure.device).requires_grad_(backward) for count in sizes)
    grad = torch.rand(sizes, device=measure.device)

    def step(function: Overlaps | None) -> Callable[[], object] | None:
        if function is None or not backward:
            return function and (lambda: function(a, b))
        return lambda: torch.autograd.grad(function(a, b), (a, b), grad)

    measure(
        f"{kind}, {sizes[0]} x {sizes[1]}, {'forward and backward' if backward else 'forward'}",
        ours=step(getattr(ldie_ext, kind)),
        composed=step(composed_iou if kind == "box_iou" else None),
        peer=step(peer(kind)),
        **(harness.step_bytes((a, b), grad, (a, b)) if backward else {"read_bytes": harness.bytes_of(a, b)}),
        flops=PAIR_FLOPS[kind] * grad.numel() * (3 if backward else 1),
        memory=True,
    )
