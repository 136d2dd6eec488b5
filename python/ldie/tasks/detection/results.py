# SPDX-License-Identifier: Apache-2.0
"""Predictions in COCO's format of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ldie.tasks.detection.masks import to_coco, to_rle
from ldie.tasks.detection.sample import Prediction
from ldie_ext import rle_area


def coco_detections(predictions: Mapping[Any, Prediction], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Predictions by image id as COCO result records: xywh boxes, compressed RLE masks, flat keypoints."""
    return [
        record
        for image_id, prediction in predictions.items()
        for record in _records(image_id, prediction, category_ids)
    ]


def coco_annotations(image_id: Any, prediction: Prediction, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Result records of one image with an area, that of the mask where there is one, and ``iscrowd``."""
    records = _records(image_id, prediction, category_ids)
    if prediction.masks is not None:
        areas = rle_area(to_rle(prediction.masks, prediction.size)).tolist()
    else:
        areas = [record["bbox"][2] * record["bbox"][3] for record in records]
    return [{**record, "area": area, "iscrowd": 0} for record, area in zip(records, areas)]


def _records(image_id: Any, prediction: Prediction, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    boxes = prediction.boxes.cpu().double().numpy()
    masks = None if prediction.masks is None else to_coco(prediction.masks, prediction.size)
    records = []
    for i, (box, score, label) in enumerate(zip(boxes, prediction.scores.tolist(), prediction.labels.tolist())):
        x1, y1, x2, y2 = box.tolist()
        record = {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        if masks is not None:
            record["segmentation"] = masks[i]
        if prediction.keypoints is not None:
            record["keypoints"] = prediction.keypoints[i].flatten().tolist()
        records.append(record)
    return records
