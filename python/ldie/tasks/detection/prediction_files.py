# SPDX-License-Identifier: Apache-2.0
"""Detections in image files: annotated pictures and a COCO file."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ldie.contract import Facts
from ldie.files import make_folder, write_text
from ldie.tasks.detection.detections import Detections, detect
from ldie.tasks.detection.images import files_of, read_image
from ldie.tasks.detection.model import DetectionModel
from ldie.tasks.detection.visualization import save_picture

logger = logging.getLogger("ldie")


def write_predictions(
    model: DetectionModel, paths: Sequence[Path], out: Path, *, batch_size: int, min_score: float
) -> None:
    """Runs a model on image files and folders: see :meth:`ldie.contract.Task.predict`."""
    files = files_of(paths)
    for file in files:
        read_image(file)  # nothing is written unless every image can be read
    make_folder(out)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names = _picture_names(files)
    for image_id, (file, name, found) in enumerate(zip(files, names, detect(model, files, batch_size)), start=1):
        save_picture(found.draw(min_score), out / name)
        logger.info("%s: %s -> %s", file, _summary(found, min_score), out / name)
        height, width = found.size
        images.append({"id": image_id, "file_name": str(file), "height": height, "width": width})
        annotations += found.to_coco(image_id)
    write_text(out / "predictions.json", json.dumps(_coco_document(images, annotations, model.facts)))
    logger.info("COCO json   %s", out / "predictions.json")


def _picture_names(images: Sequence[Path]) -> list[str]:
    """One file name per image; images of the same name in different folders are numbered."""
    names: dict[str, None] = {}  # an ordered set
    for image in images:
        name, number = f"{image.stem}.png", 2
        while name in names:
            name, number = f"{image.stem}_{number}.png", number + 1
        names[name] = None
    return list(names)


def _summary(found: Detections, min_score: float) -> str:
    names = [name for name, score in zip(found.names, found.scores.tolist()) if score >= min_score]
    counts = {name: names.count(name) for name in found.facts["classes"] if name in names}
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"


def _coco_document(images: list[dict[str, Any]], annotations: list[dict[str, Any]], facts: Facts) -> dict[str, Any]:
    """A whole COCO file: images, categories, and detections as annotations with scores."""
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]
    categories = [{"id": i, "name": name} for i, name in zip(facts["category_ids"], facts["classes"])]
    return {"images": images, "categories": categories, "annotations": numbered}
