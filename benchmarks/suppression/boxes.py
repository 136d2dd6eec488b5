"""Boxes as detectors give them to suppression, and greedy suppression composed of PyTorch operations."""

from __future__ import annotations

import torch
from torch import Tensor

HEIGHT, WIDTH = 800, 1333


def around(centre: Tensor, size: Tensor) -> Tensor:
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def jittered(boxes: Tensor, amount: float) -> Tensor:
    """Every edge moved by a normal deviate of `amount` of the box's side."""
    return boxes + torch.randn_like(boxes) * amount * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def uniform(count: int) -> Tensor:
    """Sides of 10 to 100 pixels, anywhere in the image."""
    return around(torch.rand(count, 2) * torch.tensor([WIDTH, HEIGHT]), 10 + 90 * torch.rand(count, 2))


def clustered(count: int, objects: int = 50) -> Tensor:
    """What a detector says about few objects: many boxes about each."""
    sizes = 30 + 270 * torch.rand(objects, 2)
    truth = around(torch.rand(objects, 2) * torch.tensor([WIDTH, HEIGHT]), sizes)
    return jittered(truth[torch.randint(0, objects, (count,))], 0.15)


def anchor_like(count: int) -> Tensor:
    """Anchors of five levels and three aspect ratios, somewhat moved: sides from 22 to 724 pixels."""
    anchors = []
    for stride in (8, 16, 32, 64, 128):
        centre = torch.cartesian_prod(torch.arange(0, WIDTH, stride), torch.arange(0, HEIGHT, stride)) + stride / 2
        for ratio in (0.5, 1.0, 2.0):
            size = 4 * stride * torch.tensor([ratio**-0.5, ratio**0.5])
            anchors.append(around(centre, size.expand(len(centre), 2)))
    every = torch.cat(anchors)
    return jittered(every[torch.randperm(len(every))[:count]], 0.05)


def composed_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """All pairs at once, then rounds: a box is suppressed while one that overlaps it and comes before it is kept.

    Each round settles the boxes whose suppressors are settled, so that it ends with the greedy result.
    """
    order = scores.argsort(descending=True, stable=True)
    sorted_boxes, groups = boxes[order], idxs[order]
    low, high = sorted_boxes[:, :2], sorted_boxes[:, 2:]
    area = (high - low).prod(1)
    overlap = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(2)
    over = overlap / (area[:, None] + area - overlap) > iou_threshold
    suppressors = (over & (groups[:, None] == groups)).triu(1).to(torch.float32)
    kept = torch.ones_like(scores)
    while True:
        settled = (kept @ suppressors == 0).to(kept.dtype)
        if torch.equal(settled, kept):
            return order[kept.bool()]
        kept = settled
