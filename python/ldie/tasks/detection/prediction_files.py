# SPDX-License-Identifier: Apache-2.0
"""Detections in image files: annotated pictures and a COCO file."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.contract import Facts
from ldie.files import make_folder, write_text
from ldie.tasks.detection.images import read_image
from ldie.tasks.detection.model import DetectionModel
from ldie.tasks.detection.results import coco_detections
from ldie.tasks.detection.sample import Prediction
from ldie.tasks.detection.visualization import draw_prediction

logger = logging.getLogger("ldie")


def write_predictions(model: DetectionModel, files: Sequence[Path], out: Path, min_score: float) -> None:
    """Runs a model on image files: see :meth:`ldie.contract.Task.predict`."""
    for file in files:
        read_image(file)  # nothing is written unless every image can be read
    make_folder(out)
    images, predictions = [], {}
    for image_id, (file, name) in enumerate(zip(files, _picture_names(files)), start=1):
        image = read_image(file)
        with torch.no_grad():
            (prediction,) = model.predict([image])
        draw_prediction(image, prediction, model.facts["classes"], min_score=min_score).save(out / name)
        logger.info("%s: %s -> %s", file, _found(prediction, model.facts, min_score), out / name)
        height, width = prediction.size
        images.append({"id": image_id, "file_name": str(file), "height": height, "width": width})
        predictions[image_id] = prediction
    document = _coco_document(images, coco_detections(predictions, model.facts["category_ids"]), model.facts)
    write_text(out / "predictions.json", json.dumps(document))
    logger.info("COCO json   %s", out / "predictions.json")


def _picture_names(images: Sequence[Path]) -> list[str]:
    """One file name per image; images of the same name in different folders are numbered."""
    names: list[str] = []
    for image in images:
        name, number = f"{image.stem}.png", 2
        while name in names:
            name, number = f"{image.stem}_{number}.png", number + 1
        names.append(name)
    return names


def _found(prediction: Prediction, facts: Facts, min_score: float) -> str:
    labels = [int(k) for k, score in zip(prediction.labels, prediction.scores) if score >= min_score]
    counts = {facts["classes"][label]: labels.count(label) for label in sorted(set(labels))}
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"


def _coco_document(images: list[dict[str, Any]], detections: Sequence[dict[str, Any]], facts: Facts) -> dict[str, Any]:
    """A whole COCO file: images, categories, and detections as annotations with scores."""
    annotations = [
        {"id": number, **record, "area": record["bbox"][2] * record["bbox"][3], "iscrowd": 0}
        for number, record in enumerate(detections, start=1)
    ]
    categories = [{"id": i, "name": name} for i, name in zip(facts["category_ids"], facts["classes"])]
    return {"images": images, "categories": categories, "annotations": annotations}
