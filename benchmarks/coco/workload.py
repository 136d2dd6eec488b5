"""Truth and detections to evaluate: boxes, masks or keypoints of 80 classes, objects found with an error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from ldie.tasks.detection.annotations import AnnotationFile, parse_annotations
from ldie.tasks.detection.sample import Prediction

from ldie_ext import RLE
from ldie_ext.coco import mask as coco_mask

Kind = Literal["bbox", "segm", "keypoints"]
Array = npt.NDArray[Any]
SIZE, CLASSES, POINTS = (480, 640), 80, 17
CATEGORY_IDS = range(1, CLASSES + 1)


@dataclass(frozen=True)
class Found:
    """The K detections of an image, as a network's results: boxes float32 [K,4] x1 y1 x2 y2, and so on."""

    boxes: Array
    scores: Array
    labels: Array
    masks: Array | None
    """uint8 [H,W,K], column by column."""
    keypoints: Array | None


@dataclass(frozen=True)
class Workload:
    """What is compared, what is to be found and what was found, image by image."""

    kind: Kind
    truth: dict[str, Any]
    found: list[Found]

    def parsed(self) -> AnnotationFile:
        """The truth as an opened data set has it."""
        return parse_annotations(self.truth, Path("truth.json"))

    def predictions(self) -> dict[int, Prediction]:
        """The detections as a model of ldie gives them, masks already as run lengths."""
        return {id: prediction(found) for id, found in enumerate(self.found, start=1)}

    def records(self) -> list[dict[str, Any]]:
        """The detections as COCO's records."""
        return [record for id, found in enumerate(self.found, start=1) for record in records(id, found)]

    def rows(self) -> Array:
        """The detections as pycocotools' columns: image, x, y, width, height, score, category."""
        counts = [len(found.scores) for found in self.found]
        boxes = np.concatenate([found.boxes for found in self.found]).astype(np.float64)
        return np.column_stack([
            np.repeat(np.arange(1, len(counts) + 1), counts), boxes[:, :2], boxes[:, 2:] - boxes[:, :2],
            np.concatenate([found.scores for found in self.found]).astype(np.float64),
            np.concatenate([found.labels for found in self.found]) + 1,
        ])  # fmt: skip


def prediction(found: Found) -> Prediction:
    boxes, scores, labels = (torch.from_numpy(array) for array in (found.boxes, found.scores, found.labels))
    masks = None if found.masks is None else RLE.from_coco(coco_mask.encode(found.masks))
    keypoints = None if found.keypoints is None else torch.from_numpy(found.keypoints)
    return Prediction(boxes, scores, labels, masks, keypoints, SIZE)


def records(image_id: int, found: Found) -> list[dict[str, Any]]:
    common = [
        {"image_id": image_id, "category_id": label + 1, "score": score}
        for label, score in zip(found.labels.tolist(), found.scores.tolist())
    ]
    if found.masks is not None:
        return [{**record, "segmentation": rle} for record, rle in zip(common, coco_mask.encode(found.masks))]
    if found.keypoints is not None:
        flat = found.keypoints.astype(np.float64).reshape(len(common), -1)
        return [{**record, "keypoints": points} for record, points in zip(common, flat.tolist())]
    corners = found.boxes.astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return [{**record, "bbox": box} for record, box in zip(common, boxes.tolist())]


def workload(kind: Kind, images: int, detections: int, seed: int = 0) -> Workload:
    """So many images with 1 to 14 objects and so many detections each."""
    generator = np.random.default_rng(seed)
    objects: list[dict[str, Any]] = []
    found = []
    for image_id in range(1, images + 1):
        first = len(objects)
        objects += [annotation(generator, kind, first + i + 1, image_id) for i in range(generator.integers(1, 15))]
        found.append(detected(generator, kind, objects[first:], detections))
    truth = {
        "images": [{"id": i + 1, "height": SIZE[0], "width": SIZE[1], "file_name": str(i)} for i in range(images)],
        "categories": [{"id": i, "name": str(i), "keypoints": [str(n) for n in range(POINTS)]} for i in CATEGORY_IDS],
        "annotations": objects,
    }
    return Workload(kind, truth, found)


def outline(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """A star-shaped polygon of 10 to 60 vertices, 10 to 140 pixels radius, inside the image."""
    count = generator.integers(10, 60)
    angle = np.sort(generator.uniform(0, 2 * np.pi, count))
    radius = generator.uniform(10, 140) * generator.uniform(0.6, 1, count)
    directions = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (generator.uniform(0, SIZE[::-1]) + radius[:, None] * directions).clip(0, SIZE[::-1])


def annotation(generator: np.random.Generator, kind: Kind, number: int, image_id: int) -> dict[str, Any]:
    points = outline(generator)
    low, extent = points.min(0), np.ptp(points, axis=0)
    entry = {
        "id": number, "image_id": image_id, "category_id": int(generator.integers(1, CLASSES + 1)), "iscrowd": 0,
        "bbox": [*low.tolist(), *extent.tolist()], "area": float(0.6 * extent.prod()),
    }  # fmt: skip
    if kind == "segm":
        entry["segmentation"] = [points.ravel().tolist()]
    if kind == "keypoints":
        places = low + generator.uniform(0, 1, (POINTS, 2)) * extent
        entry["keypoints"] = np.column_stack([places, np.full(POINTS, 2)]).ravel().tolist()
        entry["num_keypoints"] = POINTS
    return entry


def detected(generator: np.random.Generator, kind: Kind, objects: list[dict[str, Any]], count: int) -> Found:
    """Objects of an image with their corners moved by 2 to 15 pixels, three of ten under another class."""
    items = [objects[i] for i in generator.integers(len(objects), size=count)]
    errors = generator.choice([2.0, 6.0, 15.0], count)
    boxes = np.array([item["bbox"] for item in items])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1) + boxes[:, :2]
    labels = np.array([item["category_id"] - 1 for item in items])
    other = generator.random(count) < 0.3
    labels[other] = generator.integers(CLASSES, size=other.sum())
    masks = keypoints = None
    if kind == "segm":
        corners = [np.array(item["segmentation"][0]) for item in items]
        moved = [points + generator.normal(0, error, len(points)) for points, error in zip(corners, errors)]
        masks = coco_mask.decode(coco_mask.frPyObjects([points.tolist() for points in moved], *SIZE))
    if kind == "keypoints":
        keypoints = np.array([item["keypoints"] for item in items], dtype=np.float32).reshape(count, POINTS, 3)
        keypoints[..., :2] += generator.normal(0, 1, (count, POINTS, 2)) * errors[:, None, None]
    boxes += generator.normal(0, 1, boxes.shape) * errors[:, None]
    return Found(
        boxes.astype(np.float32), generator.random(count).astype(np.float32), labels.astype(np.int64), masks, keypoints
    )
