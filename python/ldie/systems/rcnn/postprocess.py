# SPDX-License-Identifier: Apache-2.0
"""From the heads' outputs to objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import ldie_ext
from ldie.systems.rcnn.config import BoxHeadConfig, PostprocessConfig
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.whole_images import Convention


class Found(NamedTuple):
    """The N objects of B images; image b owns offsets[b]..offsets[b + 1], best first."""

    boxes: Tensor  # float [N,4], pixels of the network's input
    scores: Tensor  # float [N]
    labels: Tensor  # int64 [N]
    offsets: Tensor  # int64 [B+1]


def select_objects(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    counts: Tensor,
    sizes: Tensor,
    head: BoxHeadConfig,
    config: PostprocessConfig,
) -> Found:
    """The best objects of all images together.

    Args:
        logits: [B*P,K+1], background last.
        deltas: [B*P,4K], or [B*P,4] for all classes.
        proposals: [B,P,4].
        counts: int64 [B], how many of them there are.
        sizes: int64 [B,2], of the images.
        head: What deltas were multiplied by.
        config: Thresholds and limits.
    """
    images, places = proposals.shape[:2]
    scores = logits.softmax(1)[:, :-1]
    classes = scores.shape[1]
    boxes = ldie_ext.decode_boxes(deltas.unflatten(1, (-1, 4)), proposals.flatten(0, 1), head.weights)
    limits = sizes.flip(1).repeat(1, 2).to(boxes.dtype).repeat_interleave(places, 0)
    boxes = torch.minimum(boxes.clamp(min=0), limits[:, None]).expand(-1, classes, 4)
    exists = (torch.arange(places, device=counts.device) < counts[:, None]).flatten()
    extent = (boxes[..., 2:] - boxes[..., :2]).amin(2)
    candidates = ((scores > config.score_threshold) & exists[:, None] & (extent >= _LEAST)).nonzero()
    region, label = candidates.unbind(1)
    boxes, scores, image = boxes[region, label], scores[region, label], region // places
    keep = ldie_ext.batched_nms(boxes, scores, image * classes + label, config.nms_threshold)
    keep, offsets = _best(keep, image[keep], images, config.detections)
    return Found(boxes[keep], scores[keep], label[keep], offsets)


_LEAST = 1e-2
"""Pixels that a box is at least wide and high, as torchvision has it."""


def _best(rows: Tensor, image: Tensor, images: int, limit: int) -> tuple[Tensor, Tensor]:
    """The first ``limit`` rows of each image, image by image, and the images' offsets."""
    order = image.argsort(stable=True)
    rows, image = rows[order], image[order]
    starts = torch.searchsorted(image, torch.arange(images + 1, device=image.device))
    place = torch.arange(rows.shape[0], device=rows.device) - starts[image]
    kept = starts.diff().clamp(max=limit).cumsum(0)
    return rows[place < limit], torch.cat([kept.new_zeros(1), kept])


def own_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Probabilities [N,M,M] of each object's own class, from [N,K,M,M]."""
    return logits[torch.arange(labels.shape[0], device=labels.device), labels].sigmoid()


def draw_masks(
    probabilities: Tensor, boxes: Tensor, size: Size, config: PostprocessConfig, convention: Convention
) -> ldie_ext.RLE:
    """Masks of objects, on the CPU.

    Args:
        probabilities: [N,M,M].
        boxes: [N,4], of the image.
        size: (H, W) of the image.
        config: Threshold.
        convention: How cells are interpolated.
    """
    pasted = ldie_ext.paste_masks(
        probabilities, boxes, size, threshold=config.mask_threshold, convention=convention, packed=True
    )
    runs = ldie_ext.rle_encode(pasted, packed_width=size[1])
    return ldie_ext.RLE(runs.counts.cpu(), runs.offsets.cpu(), runs.sizes.cpu())


def image_keypoints(
    heatmaps: Tensor, boxes: Tensor, ratio: Tensor, config: PostprocessConfig, convention: Convention
) -> Tensor:
    """Keypoints [N,K,3] as pixel indices of the image file, with scores.

    Args:
        heatmaps: [N,K,M,M], logits.
        boxes: [N,4], of the network's input.
        ratio: [2], pixels of the file in one of the input, x and y.
        config: Steps to look in.
        convention: Torchvision takes indices for coordinates; detectron2 has the centre of pixel 0 at 0.5.
    """
    scale = config.keypoint_scale
    found, scores = ldie_ext.decode_keypoints(
        heatmaps, boxes * scale, score="softmax" if convention == "detectron2" else "logit"
    )
    points = found[..., :2] / scale * ratio
    return torch.cat([points - 0.5 if convention == "detectron2" else points, scores[..., None]], 2)
