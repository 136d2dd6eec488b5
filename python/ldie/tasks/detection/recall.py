# SPDX-License-Identifier: Apache-2.0
"""Recall of proposals: how many objects have one in their place, of whatever class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ldie.tasks.detection.annotations import AnnotationFile, ImageInfo
from ldie.tasks.detection.overlaps import Array, objects_of, overlaps
from ldie.tasks.detection.sample import Prediction

LIMITS = (50, 100, 1000)
"""How many of an image's proposals count, the best ones."""
SIZE_LIMIT = 100
"""How many do in the recall of objects of one size."""
SIZES = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, np.inf)}
"""COCO's size classes by letter: the least and the greatest area; an area on the border is in both."""
_THRESHOLDS = np.arange(50, 100, 5) / 100


def proposal_recall(truth: AnnotationFile, predictions: Mapping[Any, Prediction]) -> dict[str, float]:
    """Average recall of the best proposals over the IoU thresholds .50, .55, ... .95, as detectron2 defines it.

    In each image the object and the proposal of the greatest IoU are taken for each other, then those of the greatest
    IoU among the rest, and so on; an object is found at a threshold if its IoU is no less. Classes play no part. Crowds
    are no objects, and a proposal in one is neither right nor wrong.

    Args:
        truth: The objects that are to be found.
        predictions: By image id. Images that ``truth`` does not list do not count.

    Returns:
        ``AR50``, ``AR100``, ``AR1000`` by how many proposals of an image count, and ``ARs``, ``ARm``, ``ARl`` for
        objects of a size with 100; in 0..1, -1 without such objects.

    Raises:
        ValueError: A prediction is of another size than its image, or has no proposals.
    """
    pairs, areas = _pairs(truth, predictions)
    recall = {f"AR{limit}": _average(pairs.best(limit, areas >= 0)) for limit in LIMITS}
    for letter, (least, greatest) in SIZES.items():
        recall[f"AR{letter}"] = _average(pairs.best(SIZE_LIMIT, (least <= areas) & (areas <= greatest)))
    return recall


@dataclass(frozen=True)
class _Pairs:
    """Objects and proposals of all images that overlap by the least threshold, the greatest overlaps first.

    Equal ones are in the order of the objects, then of the proposals. Fields are arrays [N] but for the count.
    """

    iou: Array
    object: Array
    """Number of the object, counted through all images."""
    proposal: Array
    """Number of the proposal, likewise."""
    rank: Array
    """Number of the proposal in its image."""
    proposals: int
    """How many there are."""

    def best(self, limit: int, selected: Array) -> Array:
        """IoU of each object of ``selected`` (bool [objects]) with the proposal that it gets of the best ``limit``.

        It is 0 for one that gets none. A pair is taken if it is the first of its object and the first of its proposal:
        that gives what taking one after the other does, with few rounds for all images together.
        """
        best = np.zeros(len(selected))
        left = np.flatnonzero((self.rank < limit) & selected[self.object])
        while len(left):
            objects, proposals = self.object[left], self.proposal[left]
            taken = _is_first(objects, len(selected)) & _is_first(proposals, self.proposals)
            best[objects[taken]] = self.iou[left[taken]]
            left = left[~(_among(objects, taken, len(selected)) | _among(proposals, taken, self.proposals))]
        return best[selected]


def _pairs(truth: AnnotationFile, predictions: Mapping[Any, Prediction]) -> tuple[_Pairs, Array]:
    """The pairs, and the area of every object."""
    none = np.empty(0, dtype=np.int64)
    found: list[tuple[Array, Array, Array, Array]] = [(np.empty(0), none, none, none)]
    areas: list[float] = []
    proposals = 0
    for image_id, objects in objects_of(truth, predictions).items():
        boxes = _checked(predictions[image_id], truth.images[image_id])
        iou = overlaps(boxes[: max(LIMITS)], objects)
        ranks, numbers = np.nonzero(iou >= _THRESHOLDS[0])
        found.append((iou[ranks, numbers], numbers + len(areas), ranks + proposals, ranks))
        areas += [item.area for item in objects]
        proposals += len(iou)
    iou, numbers, places, ranks = (np.concatenate(columns) for columns in zip(*found))
    order = np.lexsort((places, numbers, -iou))
    return _Pairs(iou[order], numbers[order], places[order], ranks[order], proposals), np.array(areas)


def _checked(prediction: Prediction, image: ImageInfo) -> Tensor:
    """The proposals of an image, if they can be compared with its truth."""
    size = (image.height, image.width)
    if tuple(prediction.size) != size:
        raise ValueError(f"image {image.id} is of size {size}, but its prediction is for one of {prediction.size}")
    if prediction.proposals is None:
        raise ValueError(f"image {image.id} has no proposals, but others do")
    return prediction.proposals


def _is_first(numbers: Array, count: int) -> Array:
    """Whether each of the numbers, which are below ``count``, has not occurred before it; bool [N]."""
    first = np.empty(count, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]  # what is assigned last stays
    is_first: Array = first[numbers] == np.arange(len(numbers))
    return is_first


def _among(numbers: Array, selected: Array, count: int) -> Array:
    """Whether each of the numbers, which are below ``count``, is one of the selected ones; bool [N]."""
    flags = np.zeros(count, dtype=np.bool_)
    flags[numbers[selected]] = True
    among: Array = flags[numbers]
    return among


def _average(best: Array) -> float:
    """Recall of objects by the IoU of what they got, averaged over the thresholds."""
    return float((best[:, None] >= _THRESHOLDS).mean()) if len(best) else -1.0
