# SPDX-License-Identifier: Apache-2.0
"""Truth and predictions in a few lines, for tests of what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ldie.tasks.detection import Annotation, Category, ImageInfo, Prediction
from ldie.tasks.detection.annotations import AnnotationFile

HEIGHT, WIDTH = 200, 300
Box = Sequence[float]


def item(box: Box, category: int = 1, crowd: bool = False, area: float | None = None, image: int = 1) -> Annotation:
    """An object, its box x1 y1 x2 y2."""
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1) if area is None else area
    return Annotation(0, image, category, (x1, y1, x2 - x1, y2 - y1), area, crowd, None, None, 0)


def truth_of(*items: Annotation, images: Iterable[int] = (1,)) -> AnnotationFile:
    """Truth of objects in these images, of categories 1 and 2."""
    return AnnotationFile(
        {id: Category(id, f"class {id}") for id in (1, 2)},
        {id: ImageInfo(id, f"{id}.png", HEIGHT, WIDTH) for id in images},
        {id: item._replace(id=id) for id, item in enumerate(items)},
    )


def found(
    boxes: Sequence[Box] = (), scores: Sequence[float] = (), labels: Sequence[int] = (), **changes: Any
) -> Prediction:
    """A prediction of boxes, of label 0 with a score of .9 unless told otherwise."""
    fields: Mapping[str, Any] = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores or [0.9] * len(boxes)),
        "labels": torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        "masks": None, "keypoints": None, "size": (HEIGHT, WIDTH),
    }  # fmt: skip
    return Prediction(**{**fields, **changes})


def proposing(*boxes: Box) -> Prediction:
    """A prediction of proposals alone, as of a training of proposals."""
    return found(proposals=torch.tensor(np.array(boxes, dtype=np.float32)).reshape(-1, 4))
