# SPDX-License-Identifier: Apache-2.0
"""A small COCO file, and data sets in folders made of such."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.tasks.detection import DataError, Prediction, Sample
from PIL import Image

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 10, "width": 12},
        {"id": 3, "file_name": "b.png", "height": 10, "width": 12},
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [2, 2, 4, 4], "segmentation": [SQUARE]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [1.5, 0, 2, 3], "segmentation": [SQUARE, [1, 1, 2, 2]]},
        {
            "id": 3,
            "image_id": 7,
            "category_id": 1,
            "bbox": [0, 0, 12, 10],
            "iscrowd": 1,
            "segmentation": {"size": [10, 12], "counts": [20, 30, 70]},
        },
    ],
}
Content = dict[str, Any]


def write(root: Path, content: Content | str, split: str = "train2017", kind: str = "instances") -> Path:
    for folder in (root / split, root / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (12, 10), (200, 100, 50)).save(root / split / name)
    path = root / "annotations" / f"{kind}_{split}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def message(function: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        function()
    text = str(caught.value)
    assert "\n" not in text and ";" in text  # one line: what is wrong; what to do
    return text


def perfect(sample: Sample) -> Prediction:
    """The sample's own objects as predictions, crowds left out."""
    kept = sample.select(~sample.iscrowd)
    scores = torch.full((len(kept),), 0.9)
    return Prediction(kept.boxes, scores, kept.labels, kept.masks, kept.keypoints, sample.size)
