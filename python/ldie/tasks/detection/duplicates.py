# SPDX-License-Identifier: Apache-2.0
"""Objects that were found several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ldie.tasks.detection.annotations import Annotation, AnnotationFile
from ldie.tasks.detection.overlaps import Array, objects_of, overlaps
from ldie.tasks.detection.sample import Prediction

MIN_SCORE = 0.5
"""Detections of at least this score count: those that people look at."""
MIN_OVERLAP = 0.5
"""IoU from which a detection is of an object."""


def duplicate_rate(truth: AnnotationFile, predictions: Mapping[Any, Prediction], category_ids: Sequence[int]) -> float:
    """How many of the detections of at least :data:`MIN_SCORE` find an object that a better one has found already.

    A detection is of the object of its class that it overlaps most, if the IoU is at least :data:`MIN_OVERLAP`. Of the
    detections of one object all but the best are duplicates. Crowds are no objects: what lies in one is of none.

    Args:
        truth: The objects.
        predictions: By image id. Images that ``truth`` does not list do not count.
        category_ids: The category of each label.

    Returns:
        Duplicates as a part of all detections, in 0..1; -1 without detections.
    """
    duplicates = count = 0
    for image_id, objects in objects_of(truth, predictions).items():
        prediction = predictions[image_id]
        confident = prediction.scores >= MIN_SCORE
        count += int(confident.sum())
        if objects and confident.any():
            categories = np.array(category_ids)[prediction.labels[confident].cpu().numpy()]
            duplicates += _duplicates(prediction.boxes[confident], categories, objects)
    return duplicates / count if count else -1.0


def _duplicates(boxes: Tensor, categories: Array, objects: Sequence[Annotation]) -> int:
    """How many of the boxes [N,4] with categories [N] are not the only or best one of their object."""
    iou = overlaps(boxes, objects)
    iou[categories[:, None] != np.array([item.category_id for item in objects])] = 0
    found = iou.argmax(axis=1)[iou.max(axis=1) >= MIN_OVERLAP]
    return len(found) - len(np.unique(found))
