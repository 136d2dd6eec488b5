"""Assignment of ground truth in torchvision's detection models, without the matrix of IoUs.

As in _methods, each takes the method that it stands in for first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import ldie_ext
from ldie_ext.compat.torchvision._methods import EXACT, Method, is_own

Target = dict[str, Tensor]


def assign_to_anchors(
    original: Method, self: Any, anchors: list[Tensor], targets: list[Target]
) -> tuple[list[Tensor], list[Tensor]]:
    """``RegionProposalNetwork.assign_targets_to_anchors``: 1 object, 0 background, -1 neither, and the boxes."""
    gt_boxes = [target["boxes"] for target in targets]
    own_similarity = getattr(self.box_similarity, "__name__", None) == "box_iou"
    if not own_similarity or not _can_match(self.proposal_matcher, gt_boxes, anchors):
        return original(self, anchors, targets)
    labels, matched = [], []
    for boxes, candidates in zip(gt_boxes, anchors):
        matches = _match(self.proposal_matcher, boxes, candidates)
        labels.append(torch.where(matches == -2, -1.0, (matches >= 0).float()))
        matched.append(boxes[matches.clamp(min=0)] if len(boxes) else torch.zeros_like(candidates))
    return labels, matched


def assign_to_proposals(
    original: Method, self: Any, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """``RoIHeads.assign_targets_to_proposals``: rows of ground truth, and class, 0 background, -1 neither."""
    if not _can_match(self.proposal_matcher, gt_boxes, proposals):
        return original(self, proposals, gt_boxes, gt_labels)
    rows, labels = [], []
    for boxes, classes, candidates in zip(gt_boxes, gt_labels, proposals):
        matches = _match(self.proposal_matcher, boxes, candidates)
        rows.append(matches.clamp(min=0))
        found = classes[rows[-1]] if len(boxes) else torch.zeros_like(matches)
        labels.append(torch.where(matches >= 0, found.to(torch.int64), matches + 1))
    return rows, labels


def retinanet_loss(
    original: Method, self: Any, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor]
) -> dict[str, Tensor]:
    """``RetinaNet.compute_loss``."""
    gt_boxes = [target["boxes"] for target in targets]
    if not _can_match(self.proposal_matcher, gt_boxes, anchors):
        return original(self, targets, head_outputs, anchors)
    matches = [_match(self.proposal_matcher, *pair) for pair in zip(gt_boxes, anchors)]
    return self.head.compute_loss(targets, head_outputs, anchors, matches)


def _can_match(matcher: Any, gt_boxes: list[Tensor], candidates: list[Tensor]) -> bool:
    """Whether match_boxes gives what the matcher makes of the matrix of IoUs."""
    own = is_own(matcher, "torchvision.models.detection._utils", "Matcher")
    exact = all(boxes.dtype in EXACT for boxes in (*gt_boxes, *candidates))
    return own and exact and all(len(boxes) > 0 for boxes in candidates)  # torchvision raises for no candidates


def _match(matcher: Any, gt_boxes: Tensor, candidates: Tensor) -> Tensor:
    """[A], the row of each candidate's ground truth; -1 below the low threshold, -2 between the two."""
    if gt_boxes.numel() == 0:
        return torch.full((len(candidates),), -1, device=candidates.device)
    offsets = torch.arange(2, device=gt_boxes.device) * len(gt_boxes)
    low_quality = matcher.allow_low_quality_matches
    high, low = matcher.high_threshold, matcher.low_threshold
    return ldie_ext.match_boxes(gt_boxes, offsets, candidates, high, low, allow_low_quality=low_quality)[0][0]
