"""Reference of proposal selection: image by image, level by level, in plain operations."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from reference.suppression import nms, widen


def decode(deltas: Tensor, anchors: Tensor, size: tuple[int, int], clip: float) -> Tensor:
    """Boxes [N, 4] of deltas and anchors with weights 1, clipped to an image of (height, width)."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centre = deltas[:, :2] * sides + (anchors[:, :2] + 0.5 * sides)
    half = 0.5 * (deltas[:, 2:].clamp(max=clip).exp() * sides)
    boxes = torch.cat([centre - half, centre + half], dim=1)
    return torch.minimum(boxes.clamp(min=0), torch.tensor([size[1], size[0]] * 2).to(boxes))


def select_proposals(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    level_sizes: Sequence[int],
    image_sizes: Sequence[tuple[int, int]],
    *,
    pre_nms: int,
    post_nms: int,
    iou_threshold: float,
    min_size: float = 1e-3,
    score_threshold: float = -math.inf,
    clip: float = math.log(1000 / 16),
) -> tuple[Tensor, Tensor, Tensor]:
    """(boxes, scores, counts): of each level the pre_nms best, decoded, large enough and kept; of all the best.

    Always by descending score (stable, so that ties keep the order of the anchors); NaN and scores below the threshold
    never count. Unused slots: boxes 0, scores -inf.
    """
    batch = len(scores)
    boxes = anchors.new_zeros(batch, post_nms, 4)
    best = scores.new_full((batch, post_nms), -math.inf)
    counts = torch.zeros(batch, dtype=torch.int64)
    for image in range(batch):
        chosen, found = [], []
        for level in torch.arange(len(anchors)).split(list(level_sizes)):
            level = level[scores[image, level] >= score_threshold]
            level = level[scores[image, level].sort(descending=True, stable=True).indices[:pre_nms]]
            proposals = decode(widen(deltas[image, level]), anchors[level], image_sizes[image], clip)
            large = (proposals[:, 2:] - proposals[:, :2] >= min_size).all(1)
            level, proposals = level[large], proposals[large]
            kept = nms(proposals, scores[image, level].to(proposals), iou_threshold)
            chosen.append(level[kept])
            found.append(proposals[kept])
        anchor, proposals = torch.cat(chosen), torch.cat(found)
        order = scores[image, anchor].sort(descending=True, stable=True).indices[:post_nms]
        counts[image] = len(order)
        boxes[image, : len(order)] = proposals[order]
        best[image, : len(order)] = scores[image, anchor[order]]
    return boxes, best, counts
