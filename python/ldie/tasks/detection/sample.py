# SPDX-License-Identifier: Apache-2.0
"""One image with its objects, as read, transformed and predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldie.tasks.detection.masks import Masks, select


@dataclass
class Sample:
    """An image and its N annotated objects; all coordinates are pixels of ``image``."""

    image: Tensor
    """uint8 [3,H,W] RGB as read; float32 [3,H,W] after normalisation."""
    image_id: int
    """The data set's id of the image."""
    boxes: Tensor
    """float32 [N,4], x1 y1 x2 y2, continuous coordinates."""
    labels: Tensor
    """int64 [N], classes counted from 0."""
    iscrowd: Tensor
    """bool [N]; a crowd region stands for many objects and is no training target."""
    masks: Masks | None
    """Of all objects, in pixels of ``image``; None where the data set has no masks."""
    keypoints: Tensor | None
    """float32 [N,K,3]: x, y, visibility 0 (not labelled), 1 (hidden) or 2 (visible). x and y are pixel indices as in
    COCO: the centre of pixel i is i, which is i + 0.5 in the coordinates of boxes and polygons."""
    size: tuple[int, int]
    """(H, W) of the image file, whatever was done to ``image`` since."""
    file_name: str
    """Name of the image file in its folder."""

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: Tensor) -> Sample:
        """The sample with only the objects of ``index``, a bool [N] mask or int64 row numbers."""
        rows = index.nonzero().flatten() if index.dtype == torch.bool else index
        return replace(
            self,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            iscrowd=self.iscrowd[rows],
            masks=None if self.masks is None else select(self.masks, rows),
            keypoints=None if self.keypoints is None else self.keypoints[rows],
        )


@dataclass
class Prediction:
    """The K objects found in one image; all coordinates are pixels of the image file."""

    boxes: Tensor
    """float32 [K,4], x1 y1 x2 y2."""
    scores: Tensor
    """float32 [K]."""
    labels: Tensor
    """int64 [K], classes counted from 0."""
    masks: Masks | None
    """Of all objects; None from a system without masks."""
    keypoints: Tensor | None
    """float32 [K,J,3]: x, y (pixel indices, as in :class:`Sample`), score; None from a system without keypoints."""
    size: tuple[int, int]
    """(H, W) of the image file."""
    proposals: Tensor | None = None
    """float32 [P,4], x1 y1 x2 y2, the best first: where objects were looked for; None from a system without proposals.
    Metrics and pictures show them, no file does."""
