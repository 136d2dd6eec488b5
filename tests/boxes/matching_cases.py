"""Inputs of the matching tests: ties, duplicates, ground truth that overlaps nothing, and broken boxes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NAN, INF = float("nan"), float("inf")
KINDS = ["rounded", "duplicates", "apart", "jittered anchors", "uniform", "sizes", "far"]
THRESHOLDS = [(0.7, 0.3), (0.5, 0.5), (0.5, 0.4), (0.0, 0.0), (1.0, 0.1), (1 / 3, 0.25)]


@dataclass(frozen=True)
class Case:
    """One image of match_boxes."""

    gt: Tensor
    candidates: Tensor
    high: float
    low: float
    allow_low_quality: bool


def anchors(count: int) -> Tensor:
    """float64 squares of three sizes on a grid of stride 8, level by level."""
    side = max(1, int((count / 3) ** 0.5))
    y, x = torch.meshgrid(torch.arange(side) * 8.0, torch.arange(side) * 8.0, indexing="ij")
    centre = torch.stack([x, y], dim=-1).reshape(-1, 2)
    levels = [torch.cat([centre - size / 2, centre + size / 2], dim=1) for size in (16, 24, 48)]
    return torch.cat(levels)[:count].double()


def ground_truth(kind: str, count: int, candidates: Tensor) -> Tensor:
    """float64 boxes that meet the candidates in the way `kind` says."""
    extent = candidates[:, 2:].max() if len(candidates) else torch.tensor(64.0)
    centre, size = torch.rand(count, 2, dtype=torch.float64) * extent, torch.rand(count, 2, dtype=torch.float64) * 60
    if kind == "sizes":
        size = torch.exp(size / 8)
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    if kind == "rounded":
        boxes = boxes.round()
    elif kind == "duplicates":
        boxes = boxes.round()[torch.randint(0, max(1, count // 2), (count,))]
    elif kind == "apart":
        boxes[::3] += 1e4
    elif kind == "far":
        boxes, candidates[:] = boxes + 1e5, candidates + 1e5
    elif kind == "jittered anchors" and len(candidates):
        boxes = candidates[torch.randint(0, len(candidates), (count,))] + torch.randint(-2, 3, (count, 4))
    return boxes


def spoil(boxes: Tensor) -> None:
    """Some NaN and infinite coordinates, inverted boxes, and boxes without area."""
    spots = torch.rand_like(boxes) < 0.02
    boxes[spots] = torch.tensor([NAN, INF, -INF, 3e38])[torch.randint(0, 4, (int(spots.sum()),))].to(boxes.dtype)
    inverted, flat = torch.rand(2, len(boxes)) < 0.1
    boxes[inverted] = boxes[inverted][:, [2, 1, 0, 3]]
    boxes[flat, 2] = boxes[flat, 0]


def make_case(number: int, max_gt: int, max_candidates: int, dtype: torch.dtype = torch.float32) -> Case:
    """Case `number` of an endless series that mixes kinds of boxes, orders, thresholds and broken values."""
    gt_count, count = int(torch.randint(1, max_gt + 1, ())), int(torch.randint(1, max_candidates + 1, ()))
    candidates = anchors(count)
    gt = ground_truth(KINDS[number % len(KINDS)], gt_count, candidates)
    if number % 3 == 0:
        candidates = candidates[torch.randperm(len(candidates))]
    gt, candidates = gt.to(dtype), candidates.to(dtype)
    if number % 4 == 0:
        spoil(gt)
    if number % 5 == 0:
        spoil(candidates)
    high, low = THRESHOLDS[number % len(THRESHOLDS)]
    return Case(gt, candidates, high, low, allow_low_quality=number % 2 == 0)
