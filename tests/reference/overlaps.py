"""References of the pairwise overlaps of boxes and of matching by them, in plain PyTorch as torchvision computes."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-7


def area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def widen(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def inter_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersections and unions [N, M]; the sides of 16-bit boxes are differences in 16 bits.

    relu has no gradient at 0 in any version of PyTorch; clamp, which torchvision uses, has none there from 2.14 on.
    """
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    inter = widen(high - low).relu().prod(-1)
    return inter, area(widen(a))[:, None] + area(widen(b)) - inter


def hull_sides(a: Tensor, b: Tensor) -> Tensor:
    """Width and height [N, M, 2] of the smallest box around both."""
    low, high = torch.minimum(a[:, None, :2], b[:, :2]), torch.maximum(a[:, None, 2:], b[:, 2:])
    return widen(high - low).relu()


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    inter, union = inter_union(a, b)
    return inter / union


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    inter, union = inter_union(a, b)
    hull = hull_sides(a, b).prod(-1)
    return inter / union - (hull - union) / hull


def distance_box_iou(a: Tensor, b: Tensor, eps: float = EPS) -> Tensor:
    a, b = widen(a), widen(b)
    centre_a, centre_b = (a[:, :2] + a[:, 2:]) / 2, (b[:, :2] + b[:, 2:]) / 2
    distance = (centre_a[:, None] - centre_b).square().sum(-1)
    return box_iou(a, b) - distance / (hull_sides(a, b).square().sum(-1) + eps)


def complete_box_iou(a: Tensor, b: Tensor, eps: float = EPS) -> Tensor:
    a, b = widen(a), widen(b)
    angle_a = torch.atan((a[:, 2] - a[:, 0]) / (a[:, 3] - a[:, 1]))
    angle_b = torch.atan((b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]))
    v = 4 / torch.pi**2 * (angle_a[:, None] - angle_b).square()
    alpha = (v / (1 - box_iou(a, b) + v + eps)).detach()
    return distance_box_iou(a, b, eps) - alpha * v


def match_boxes(
    gt: Tensor,
    gt_offsets: Tensor,
    candidates: Tensor,
    high: float,
    low: float,
    *,
    allow_low_quality: bool = False,
    convention: str = "torchvision",
    crowd: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """torchvision's box_iou and Matcher, image by image; without ground truth all are -1."""
    results = []
    for image, (begin, end) in enumerate(zip(gt_offsets[:-1].tolist(), gt_offsets[1:].tolist(), strict=True)):
        rows = torch.arange(end - begin)
        if crowd is not None:
            rows = rows[~crowd[begin:end]]
        boxes = candidates if candidates.dim() == 2 else candidates[image]
        quality = box_iou(gt[begin:end][rows], boxes)
        if convention == "detectron2":
            quality = quality.nan_to_num(nan=0.0)
        results.append(match(quality, rows, high, low, allow_low_quality))
    matches, iou = zip(*results, strict=True)
    return torch.stack(matches), torch.stack(iou)


def match(quality: Tensor, rows: Tensor, high: float, low: float, allow_low_quality: bool) -> tuple[Tensor, Tensor]:
    """The rules of torchvision's Matcher on a matrix [ground truth, candidates]."""
    if quality.shape[0] == 0:
        return torch.full((quality.shape[1],), -1), quality.new_zeros(quality.shape[1])
    best, index = quality.max(dim=0)
    matches = rows[index]
    matches[best < low] = -1
    matches[(best >= low) & (best < high)] = -2
    if allow_low_quality and quality.shape[1] > 0:
        chosen = (quality == quality.max(dim=1).values[:, None]).any(dim=0)
        matches[chosen] = rows[index[chosen]]
    return matches, best
