# SPDX-License-Identifier: Apache-2.0
"""What a model found in an image, with the image and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ldie.contract import Facts
from ldie.stages import stage
from ldie.tasks.detection.images import to_image
from ldie.tasks.detection.model import DetectionModel
from ldie.tasks.detection.results import coco_annotations
from ldie.tasks.detection.sample import Prediction
from ldie.tasks.detection.visualization import draw_prediction

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class Detections(Prediction):
    """The K objects found in one image, best first where the model sorts them."""

    image: Tensor = field(repr=False, kw_only=True)
    """uint8 [3,H,W], RGB."""
    facts: Facts = field(repr=False, kw_only=True)
    """Of the data that the model was trained on."""

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """The class of each object."""
        return [self.facts["classes"][label] for label in self.labels.tolist()]

    def draw(self, min_score: float = 0.3) -> Image.Image:
        """The image with the objects of at least this score: boxes, names, scores, masks, keypoints."""
        facts = self.facts
        return draw_prediction(
            self.image, self, facts["classes"], min_score=min_score, skeleton=facts.get("skeleton", ())
        )

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """COCO's annotations with scores; ``area`` is that of the mask where there is one, else of the box."""
        return coco_annotations(image_id, self, self.facts["category_ids"])


def detect(model: DetectionModel, images: Iterable[Any], batch_size: int) -> Iterator[Detections]:
    """Runs a model on images in any form that :func:`ldie.tasks.detection.images.to_image` takes, batch by batch."""
    pending = iter(images)
    while given := list(islice(pending, batch_size)):
        with stage("read"):
            batch = [to_image(image) for image in given]
        with torch.no_grad():
            predictions: Sequence[Prediction] = model.predict(batch)
        for image, prediction in zip(batch, predictions, strict=True):
            yield Detections(**vars(prediction), image=image, facts=model.facts)
