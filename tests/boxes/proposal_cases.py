"""Inputs of select_proposals: anchors on grids that shrink from level to level, as a feature pyramid has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@dataclass(frozen=True)
class Proposals:
    """One call of select_proposals."""

    scores: Tensor
    deltas: Tensor
    anchors: Tensor
    level_sizes: list[int]
    image_sizes: list[tuple[int, int]]
    options: dict[str, Any]

    def call(self, function: Any) -> tuple[Tensor, ...]:
        return function(self.scores, self.deltas, self.anchors, self.level_sizes, self.image_sizes, **self.options)

    def to(self, device: torch.device) -> Proposals:
        scores, deltas, anchors = (t.to(device) for t in (self.scores, self.deltas, self.anchors))
        return replace(self, scores=scores, deltas=deltas, anchors=anchors)


def level_anchors(height: int, width: int, stride: int, scale: float) -> Tensor:
    """Three anchors for each cell of a grid, float64."""
    y, x = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
    centre = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).double()
    ratio = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    half = scale * stride * torch.stack([ratio**-0.5, ratio**0.5], dim=-1) / 2
    return torch.cat([centre - half, centre + half], dim=-1).reshape(-1, 4)


def make_proposals(
    batch: int,
    size: tuple[int, int],
    strides: tuple[int, ...] = (4, 8, 16),
    *,
    dtype: torch.dtype = torch.float32,
    scaled: bool = True,
    **options: Any,
) -> Proposals:
    """Distinct scores from -4 to 4 in random order; without `scaled` deltas only shift, so that no exp is rounded."""
    levels = [level_anchors(*size, stride, 8) for stride in strides]
    anchors = torch.cat(levels)
    count = len(anchors)
    ranks = torch.stack([torch.randperm(count) for _ in range(batch)]) if batch else torch.zeros(0, count)
    deltas = torch.randn(batch, count, 4, dtype=torch.float64) * 0.3
    if not scaled:
        deltas[..., 2:] = 0
    return Proposals(
        (ranks.double() * (8 / max(count - 1, 1)) - 4).to(dtype),
        deltas.to(dtype),
        anchors.to(torch.float64 if dtype is torch.float64 else torch.float32),
        [len(level) for level in levels],
        [(size[0] - 3 * image, size[1] - 5 * image) for image in range(batch)],
        {"pre_nms": 60, "post_nms": 50, "iou_threshold": 0.7} | options,
    )
