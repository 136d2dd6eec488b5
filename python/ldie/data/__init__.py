# SPDX-License-Identifier: Apache-2.0
"""Data sets in COCO's layout, generated ones, augmentation, sampling and collation."""

from ldie.data.annotations import Annotation, Category, ImageInfo
from ldie.data.catalog import locate_data, open_data
from ldie.data.coco import CocoDataset
from ldie.data.errors import DataError
from ldie.data.images import read_image
from ldie.data.loading import Batch, SampleKey, ShuffledSampler, TransformedDataset, collate
from ldie.data.sample import Prediction, Sample
from ldie.data.segmentation import Polygons, Rle, Segmentation
from ldie.data.shapes import build_shapes
from ldie.data.transforms import (
    Clip,
    Compose,
    CropToMultiple,
    Normalize,
    Photometric,
    RandomCrop,
    RandomMirror,
    RandomResize,
    Resize,
    Transform,
    normalize,
)

__all__ = [
    "Annotation",
    "Batch",
    "Category",
    "Clip",
    "CocoDataset",
    "Compose",
    "CropToMultiple",
    "DataError",
    "ImageInfo",
    "Normalize",
    "Photometric",
    "Polygons",
    "Prediction",
    "RandomCrop",
    "RandomMirror",
    "RandomResize",
    "Resize",
    "Rle",
    "Sample",
    "SampleKey",
    "Segmentation",
    "ShuffledSampler",
    "Transform",
    "TransformedDataset",
    "build_shapes",
    "collate",
    "locate_data",
    "normalize",
    "open_data",
    "read_image",
]
