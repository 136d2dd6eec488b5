# SPDX-License-Identifier: Apache-2.0
"""Predictions in COCO's format of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ldie.files import write_whole
from ldie.tasks.detection.masks import to_coco, to_rle
from ldie.tasks.detection.sample import Prediction
from ldie_ext import rle_area

_BATCH = 100  # records that are in memory at once: so few that Python does not look for garbage among them


def coco_detections(predictions: Mapping[Any, Prediction], category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Predictions by image id as COCO result records: xywh boxes, compressed RLE masks, flat keypoints."""
    for image_id, prediction in predictions.items():
        yield from _records(image_id, prediction, category_ids)


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSON file with a list of records, which need not be in memory together."""
    pending = iter(records)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.write("[" + json.dumps(list(islice(pending, _BATCH)))[1:-1])
            while batch := list(islice(pending, _BATCH)):
                file.write(", " + json.dumps(batch)[1:-1])
            file.write("]")

    write_whole(path, write)


def coco_annotations(image_id: Any, prediction: Prediction, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Result records of one image with an area, that of the mask where there is one, and ``iscrowd``."""
    records = _records(image_id, prediction, category_ids)
    if prediction.masks is not None:
        areas = rle_area(to_rle(prediction.masks, prediction.size)).tolist()
    else:
        areas = [record["bbox"][2] * record["bbox"][3] for record in records]
    return [{**record, "area": area, "iscrowd": 0} for record, area in zip(records, areas)]


def _records(image_id: Any, prediction: Prediction, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    corners = prediction.boxes.double()
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
    labels, scores = prediction.labels.tolist(), prediction.scores.tolist()
    records: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for label, box, score in zip(labels, boxes, scores)
    ]
    if prediction.masks is not None:
        for record, mask in zip(records, to_coco(prediction.masks, prediction.size), strict=True):
            record["segmentation"] = mask
    if prediction.keypoints is not None:
        for record, keypoints in zip(records, prediction.keypoints.flatten(1).tolist(), strict=True):
            record["keypoints"] = keypoints
    return records
