# SPDX-License-Identifier: Apache-2.0
"""Random images with objects in them, for the tests of the systems' targets and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import torch
from ldie.systems.rcnn.batch import Batch, collate
from ldie.systems.rcnn.config import Convention, RCNNConfig
from ldie.systems.rcnn.model import RCNN
from ldie.systems.rcnn.presets import TINY
from ldie.tasks.detection import Sample
from torch import Tensor

import ldie_ext

CLASSES, KEYPOINTS = 3, 4
SIDES = [(96, 128), (90, 100), (64, 128), (77, 61), (96, 33)]


def random_boxes(count: int, size: tuple[int, int], least: float = 8.0) -> Tensor:
    """Inside an image, at least so wide and high."""
    sides = torch.tensor([size[1], size[0]])
    extent = least + torch.rand(count, 2) * (sides * 0.7 - least)
    corner = torch.rand(count, 2) * (sides - extent)
    return torch.cat([corner, corner + extent], 1)


def rectangles(boxes: Tensor, size: tuple[int, int], runs: bool) -> ldie_ext.Polygons | ldie_ext.RLE:
    """Masks of the lower left halves of boxes, as polygons or as run lengths."""
    x1, y1, x2, y2 = boxes.double().unbind(1)
    corners = torch.stack([torch.stack([x1, y1], 1), torch.stack([x2, y2], 1), torch.stack([x1, y2], 1)], 1)
    parts = torch.arange(len(boxes) + 1)
    polygons = ldie_ext.Polygons(corners.flatten(0, 1), 3 * parts, parts)
    return ldie_ext.polygons_to_rle(polygons, size) if runs else polygons


def make_sample(image_id: int, objects: int, size: tuple[int, int], *, runs: bool = False) -> Sample:
    """An image with objects of all classes, masks and keypoints, some of which are not labelled or beside their box."""
    boxes = random_boxes(objects, size)
    place = torch.rand(objects, KEYPOINTS, 2) * 1.2 - 0.1
    points = boxes[:, None, :2] + place * (boxes[:, None, 2:] - boxes[:, None, :2])
    return Sample(
        image=torch.randint(0, 256, (3, *size), dtype=torch.uint8),
        image_id=image_id,
        boxes=boxes,
        labels=torch.arange(objects) % CLASSES,
        iscrowd=torch.zeros(objects, dtype=torch.bool),
        masks=rectangles(boxes, size, runs),
        keypoints=torch.cat([points, torch.randint(0, 3, (objects, KEYPOINTS, 1))], 2),
        size=size,
        file_name=f"{image_id}.png",
    )


def make_samples(objects: Sequence[int], *, runs: Sequence[int] = ()) -> list[Sample]:
    """Images with so many objects each; those of ``runs`` have run lengths instead of polygons."""
    numbers = zip(count(), objects)
    return [make_sample(1000 + 7 * i, n, SIDES[i % len(SIDES)], runs=i in runs) for i, n in numbers]


def make_batch(objects: Sequence[int], *, runs: Sequence[int] = ()) -> Batch:
    """The same as a batch; its images are of different sizes."""
    return collate(make_samples(objects, runs=runs), 32)


def make_model(convention: Convention = "detectron2", **options: object) -> RCNN:
    """The model of the preset ``tiny`` with options of :class:`RCNNModel`, untrained but sure of many objects."""
    config: RCNNConfig = replace(TINY, model=replace(TINY.model, convention=convention, **options))
    facts = {"classes": list("abc"), "keypoints": list("wxyz"), "flip_pairs": []}
    model = RCNN.from_config(config, facts)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    return model.eval()
