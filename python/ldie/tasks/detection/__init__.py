# SPDX-License-Identifier: Apache-2.0
"""Detection: images with boxes, masks and keypoints, in COCO's layout or generated."""

from ldie.errors import DataError
from ldie.tasks.detection.annotations import Annotation, Category, ImageInfo
from ldie.tasks.detection.catalog import locate_data, open_splits
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.detections import Detections
from ldie.tasks.detection.images import read_image
from ldie.tasks.detection.masks import Masks
from ldie.tasks.detection.model import DetectionModel
from ldie.tasks.detection.sample import Prediction, Sample
from ldie.tasks.detection.shapes import build_shapes
from ldie.tasks.detection.task import DetectionTask
from ldie.tasks.detection.transforms import (
    Compose,
    LargeScaleJitter,
    Photometric,
    RandomCrop,
    RandomMirror,
    RandomResize,
    Resize,
    ResizeShorterSide,
    Transform,
    normalize,
)

TASK = DetectionTask()

__all__ = [
    "TASK",
    "Annotation",
    "Category",
    "CocoDataset",
    "Compose",
    "DataError",
    "DetectionModel",
    "DetectionTask",
    "Detections",
    "ImageInfo",
    "LargeScaleJitter",
    "Masks",
    "Photometric",
    "Prediction",
    "RandomCrop",
    "RandomMirror",
    "RandomResize",
    "Resize",
    "ResizeShorterSide",
    "Sample",
    "Transform",
    "build_shapes",
    "locate_data",
    "normalize",
    "open_splits",
    "read_image",
]
