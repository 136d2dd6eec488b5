# SPDX-License-Identifier: Apache-2.0
"""From detector maps to boxes: peaks of each scale, merged over the scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import ldie_ext
from ldie.systems.centernet.config import CenterNetConfig, PostprocessConfig
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.inputs import evaluation_corner, evaluation_size
from ldie.tasks.detection.masks import Size

PEAKS_PER_SCALE = 512


class Detections(NamedTuple):
    """Boxes of one image, best first."""

    boxes: Tensor  # float32 [N,4], input pixels
    scores: Tensor  # float32 [N]
    labels: Tensor  # int64 [N]


def detections(scales: Sequence[Maps], size: Size, config: CenterNetConfig) -> list[Detections]:
    """The objects in whole images of one ``size``, from their maps by scale in use."""
    found = [_on_image(maps, scale, size, config) for maps, scale in zip(scales, config.model.valid_scale)]
    return [merge_scales(image, config.test) for image in zip(*found)]


def _on_image(maps: Maps, scale: int, size: Size, config: CenterNetConfig) -> list[Detections]:
    """What one scale finds, in pixels of the images; as :func:`decode_maps`."""
    top, left = evaluation_corner(size, scale, config)
    resized = evaluation_size(size, scale, config)
    result = []
    for found in decode_maps(maps, config.model.down_ratios[scale]):
        boxes = found.boxes - found.boxes.new_tensor([left, top, left, top])
        result.append(found._replace(boxes=rescale_boxes(boxes, resized, size)))
    return result


def decode_maps(maps: Maps, down_ratio: int) -> list[Detections]:
    """The peaks of each image's heatmap as boxes: (cell + offset) -+ wh / 2, times ``down_ratio``.

    There are always ``PEAKS_PER_SCALE``, the best first; where the map has fewer, label and score are -1.
    """
    logits, labels, y, x = ldie_ext.heatmap_peaks(maps.heatmap.float(), PEAKS_PER_SCALE)
    width = maps.heatmap.shape[3]
    index = (y * width + x).clamp(min=0)[:, None].expand(-1, 2, -1)
    wh = maps.wh.float().flatten(2).gather(2, index)
    offset = maps.offset.float().flatten(2).gather(2, index)
    centers = torch.stack((x, y), 1) + offset
    boxes = torch.cat((centers - wh / 2, centers + wh / 2), 1).transpose(1, 2) * down_ratio
    scores = logits.sigmoid().where(labels >= 0, -1)
    return [Detections(*image) for image in zip(boxes, scores, labels)]


def merge_scales(scales: Sequence[Detections], config: PostprocessConfig) -> Detections:
    """The best ``max_objects`` detections of one image over all scales, then class-agnostic NMS; none of label -1."""
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*scales))
    keep = scores.argsort(descending=True, stable=True)[: config.max_objects]
    keep = keep[labels[keep] >= 0]
    if config.nms:
        keep = keep[ldie_ext.nms(boxes[keep], scores[keep], config.nms_threshold)]
    return Detections(boxes[keep], scores[keep], labels[keep])


def rescale_boxes(boxes: Tensor, source: Size, target: Size) -> Tensor:
    """Boxes on an image of size ``source`` (H, W) as boxes on the same image of size ``target``, all inside of it."""
    (height, width), (new_height, new_width) = source, target
    limit = boxes.new_tensor([new_width, new_height, new_width, new_height])
    return torch.minimum((boxes * (limit / boxes.new_tensor([width, height, width, height]))).clamp(min=0), limit)
