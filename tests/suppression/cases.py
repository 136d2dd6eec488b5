"""Inputs of the suppression tests: everything that order, ties, thresholds and arithmetic can trip over."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

import torch
from backends import SANITIZED
from torch import Tensor

NAN, INF = float("nan"), float("inf")
THRESHOLDS = [0.5, 0.0, 0.1, 1 / 3, 0.7, 0.95, 1.0, 1.5, -0.0, -0.1, -2.0, NAN, INF, 0.05, 1e-40]
KINDS = ["lattice", "uniform", "sizes", "far", "tiny", "huge", "same"]


@dataclass(frozen=True)
class Case:
    """One call of batched_nms; nms takes the first two and the threshold."""

    boxes: Tensor
    scores: Tensor
    idxs: Tensor
    iou_threshold: float


def make_boxes(kind: str, count: int) -> Tensor:
    """float64 boxes: integer corners with equal IoUs, all sizes, far from 0, near the smallest or greatest numbers."""
    centre, size = torch.rand(2, count, 2, dtype=torch.float64)
    if kind == "lattice":
        centre, size = (centre * 20).floor(), (size * 8).floor()
    elif kind == "uniform":
        centre, size = centre * 200, size * 60
    elif kind == "sizes":
        centre, size = centre * 1000, torch.exp(size * 7)
    elif kind == "far":
        centre, size = centre * 100 + 1e6, size * 30
    elif kind == "tiny":
        centre, size = centre * 1e-22, size * 2e-23
    elif kind == "huge":
        centre, size = centre * 3e38, size * 1e38
    elif kind == "same":
        centre, size = torch.ones_like(centre), torch.ones_like(size)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1).clamp(-3.3e38, 3.3e38)


def exact_iou(boxes: Tensor) -> float:
    """The IoU of two of the boxes, to be a threshold that is met exactly."""
    boxes = boxes if boxes.dtype is torch.float64 else boxes.float()
    a, b = boxes[torch.randint(0, len(boxes), (2,))]
    width, height = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    area_a, area_b = (a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()
    return float(width * height / (area_a + area_b - width * height))


def spoil(boxes: Tensor, scores: Tensor) -> None:
    """Some NaN and infinite coordinates and scores, and some inverted boxes."""
    spots = torch.rand_like(boxes, dtype=torch.float32) < 0.02
    boxes[spots] = torch.tensor(list(islice(cycle([NAN, INF, -INF]), int(spots.sum()))), dtype=boxes.dtype)
    inverted = torch.rand(len(boxes)) < 0.1
    boxes[inverted] = boxes[inverted][:, [2, 1, 0, 3]]
    scores[torch.rand(len(scores)) < 0.05] = NAN
    scores[torch.rand(len(scores)) < 0.05] = -INF


def numbers(count: int) -> range:
    """Which cases to look at: each, or a quarter of them under a sanitizer."""
    return range(0, count, 4 if SANITIZED else 1)


def make_case(number: int, max_count: int, dtype: torch.dtype) -> Case:
    """Case `number` of an endless series that mixes kinds of boxes, ties, thresholds and broken values."""
    count = int(torch.randint(0, max_count + 1, ()))
    boxes = make_boxes(KINDS[number % len(KINDS)], count).to(dtype)
    scores = torch.rand(count, dtype=torch.float64)
    if number % 3 == 0:  # ties, -0 among them
        scores = torch.where(torch.rand(count) < 0.3, -0.0, (scores * 8).floor() / 8)
    scores = scores.to(dtype)
    if number % 4 == 0:
        spoil(boxes, scores)
    threshold = THRESHOLDS[number % len(THRESHOLDS)]
    if number % 5 == 0 and count > 0:
        threshold = exact_iou(boxes)
    return Case(boxes, scores, torch.randint(-3, 4, (count,)), threshold)
