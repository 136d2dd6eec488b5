# SPDX-License-Identifier: Apache-2.0
"""Boxes against the true objects of their image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ldie.tasks.detection.annotations import Annotation, AnnotationFile
from ldie_ext import box_iou

Array: TypeAlias = npt.NDArray[Any]


def objects_of(truth: AnnotationFile, image_ids: Iterable[Any]) -> dict[int, list[Annotation]]:
    """The objects of each of these images that ``truth`` lists, without crowds."""
    objects: dict[int, list[Annotation]] = {id: [] for id in image_ids if id in truth.images}
    for item in truth.annotations.values():
        if not item.iscrowd and item.image_id in objects:
            objects[item.image_id].append(item)
    return objects


def overlaps(boxes: Tensor, objects: Sequence[Annotation]) -> Array:
    """IoU of boxes [N,4], x1 y1 x2 y2, with each object's, float64 [N, len(objects)]; 0 for a box that has none."""
    corners = np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    iou: Array = box_iou(boxes.cpu().double(), torch.from_numpy(corners)).numpy()
    return np.nan_to_num(iou, copy=False)  # of a box that is no number, and of two without area
