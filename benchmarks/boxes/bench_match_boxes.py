"""match_boxes: one image's anchors of a feature pyramid, in order and shuffled, and a batch of proposals."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

STRIDES = (4, 8, 16, 32, 64)


def pyramid_anchors(height: int, width: int) -> Tensor:
    """[A, 4]: three shapes in every cell of each level, level by level."""
    levels = []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
        ratio = torch.tensor([0.5, 1.0, 2.0]).sqrt()
        half = torch.stack([4 * stride / ratio, 4 * stride * ratio], dim=1).round()
        shapes = torch.cat([-half, half], dim=1)
        levels.append((torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) + shapes).view(-1, 4))
    return torch.cat(levels)


def objects(count: int, height: int, width: int) -> Tensor:
    """Boxes of 8 to 400 pixels, small ones the most frequent."""
    centre = torch.rand(count, 2) * torch.tensor([width, height])
    size = torch.exp(torch.rand(count, 2) * 4 + 2)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def composed(gt: Tensor, counts: list[int], candidates: Tensor, high: float, low: float, low_quality: bool) -> Tensor:
    """The matrix of each image, and torchvision's rules on it."""
    results = []
    for image, boxes in enumerate(gt.split(counts)):
        others = candidates if candidates.dim() == 2 else candidates[image]
        sides = torch.minimum(boxes[:, None, 2:], others[:, 2:]) - torch.maximum(boxes[:, None, :2], others[:, :2])
        inter = sides.clamp_(min=0).prod(-1)
        area, areas = (side[:, 2:].sub(side[:, :2]).prod(-1) for side in (boxes, others))
        quality = inter / (area[:, None] + areas - inter)
        best, row = quality.max(dim=0)
        matches = torch.where(best < low, -1, torch.where(best < high, -2, row))
        if low_quality:
            chosen = (quality == quality.amax(dim=1, keepdim=True)).any(dim=0)
            matches = torch.where(chosen, row, matches)
        results.append(matches)
    return torch.stack(results)


def peer(gt: Tensor, counts: list[int], candidates: Tensor, *rule: float) -> Callable[[], list[Tensor]] | None:
    """The box_iou and the Matcher of torchvision, as its detectors call them."""
    if harness.tv is None:
        return None
    from torchvision.models.detection._utils import Matcher

    matcher, box_iou = Matcher(*rule), harness.tv.box_iou
    images = gt.split(counts)
    each = [candidates] * len(images) if candidates.dim() == 2 else list(candidates)
    return lambda: [matcher(box_iou(*pair)) for pair in zip(images, each, strict=True)]


def measure_matching(
    measure: harness.Measure, case: str, gt: Tensor, counts: list[int], candidates: Tensor, *rule: float
) -> None:
    gt, candidates = gt.to(measure.device), candidates.to(measure.device)
    offsets = torch.tensor([0, *counts]).cumsum(0).to(measure.device)
    high, low, low_quality = rule
    measure(
        case,
        ours=lambda: ldie_ext.match_boxes(gt, offsets, candidates, high, low, allow_low_quality=bool(low_quality)),
        composed=lambda: composed(gt, counts, candidates, high, low, bool(low_quality)),
        peer=peer(gt, counts, candidates, *rule),
        read_bytes=harness.bytes_of(gt, offsets, candidates),
        memory=True,
    )


@pytest.mark.parametrize("count", [10, 50, 200])
@pytest.mark.parametrize("order", ["in order", "shuffled"])
def bench_anchors(measure: harness.Measure, order: str, count: int) -> None:
    anchors = pyramid_anchors(800, 1344)
    if order == "shuffled":
        anchors = anchors[torch.randperm(len(anchors))]
    case = f"{len(anchors)} anchors {order}, {count} objects"
    measure_matching(measure, case, objects(count, 800, 1344), [count], anchors, 0.7, 0.3, True)


def bench_proposals(measure: harness.Measure) -> None:
    counts = [4, 20, 9, 1, 33, 7, 12, 2]
    proposals = torch.stack([objects(2000, 800, 1344) for _ in counts])
    gt = objects(sum(counts), 800, 1344)
    measure_matching(measure, "8 images of 2000 proposals", gt, counts, proposals, 0.5, 0.5, False)
