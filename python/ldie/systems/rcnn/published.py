# SPDX-License-Identifier: Apache-2.0
"""The published weights of Mask and Keypoint R-CNN: torchvision's and detectron2's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ldie.contract import Facts
from ldie.tasks.detection.coco_classes import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_KEYPOINTS,
    coco_facts,
    coco_person_facts,
    numbered_facts,
)
from ldie.weights.names import NameTable
from ldie.weights.published import Published
from ldie.weights.rcnn import DETECTRON2, TORCHVISION, TORCHVISION_V2, background_last

Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]

_SCORES, _BOXES = "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"
_MASKS, _KEYPOINTS = "roi_heads.mask_head.predictor", "roi_heads.keypoint_head.score_lowres"
_VECTOR, _MAP = 1024, 512
"""Channels that classes and keypoints are computed from in all of these networks."""


def torchvision_classes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's class outputs in our order; of COCO's 90 ids only the 80 that are classes, as its labels.

    Training never had an object for the other ten, so their part of the probability, which the rest now share, is
    next to nothing. Given and returned under our names.
    """
    weights = background_last(weights)
    ids = max(COCO_CATEGORY_IDS)
    if f"{_SCORES}.bias" not in weights or weights[f"{_SCORES}.bias"].numel() != ids + 1:
        return weights
    labels = torch.tensor(COCO_CATEGORY_IDS) - 1
    background = torch.tensor([ids])
    rows = {
        _SCORES: (ids + 1, torch.cat((labels, background))),
        _BOXES: (4 * ids, (4 * labels[:, None] + torch.arange(4)).flatten()),
        _MASKS: (ids, labels),
    }

    def chosen(name: str, value: Tensor) -> Tensor:
        count, kept = rows.get(name.rpartition(".")[0], (-1, labels))
        return value[kept] if value.ndim and len(value) == count else value

    return {name: chosen(name, value) for name, value in weights.items()}


def _facts(names: NameTable, adapt: Adapt, weights: Mapping[str, Tensor]) -> Facts:
    """COCO's for its classes, or for persons with its keypoints; of others only their number is known."""
    tensors = adapt(names.rename_all(weights)[0])
    classes = _rows(tensors, _SCORES, lambda rows: (rows, _VECTOR)) - 1
    keypoints = _rows(tensors, _KEYPOINTS, lambda rows: (_MAP, rows, 4, 4))
    if keypoints:
        persons = classes < 2 and keypoints == len(COCO_KEYPOINTS)
        return coco_person_facts() if persons else numbered_facts(max(classes, 1), keypoints)
    return coco_facts() if classes < 1 or classes == len(COCO_CLASSES) else numbered_facts(classes)


def _rows(weights: Mapping[str, Tensor], layer: str, shape: Callable[[int], tuple[int, ...]]) -> int:
    """Outputs of a layer; 0 where its weight has another shape: the comparison with the model will name it."""
    rows = weights[f"{layer}.bias"].numel() if f"{layer}.bias" in weights else 0
    return rows if f"{layer}.weight" in weights and weights[f"{layer}.weight"].shape == shape(rows) else 0


def _published(names: NameTable, adapt: Adapt) -> Published:
    return Published(names, partial(_facts, names, adapt), adapt)


PUBLISHED: Mapping[str, Published] = {
    "mask_r50": _published(TORCHVISION, torchvision_classes),
    "mask_r50_v2": _published(TORCHVISION_V2, torchvision_classes),
    "keypoint_r50": _published(TORCHVISION, torchvision_classes),
    "mask_r50_detectron2": _published(DETECTRON2, dict),
    "keypoint_r50_detectron2": _published(DETECTRON2, dict),
}
"""By preset. Torchvision's files: ``maskrcnn_resnet50_fpn``, its ``_v2``, ``keypointrcnn_resnet50_fpn``; detectron2's:
``mask_rcnn_R_50_FPN`` and ``keypoint_rcnn_R_50_FPN``, 1x and 3x."""
