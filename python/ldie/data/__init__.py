# SPDX-License-Identifier: Apache-2.0
"""Data sets in COCO's layout, generated ones, augmentation, sampling and collation."""

from ldie.data.annotations import Annotation, Category, ImageInfo
from ldie.data.catalog import locate_data, open_data
from ldie.data.coco import CocoDataset
from ldie.data.errors import DataError
from ldie.data.images import read_image
from ldie.data.sample import Prediction, Sample
from ldie.data.segmentation import Polygons, Rle, Segmentation
from ldie.data.shapes import build_shapes

__all__ = [
    "Annotation",
    "Category",
    "CocoDataset",
    "DataError",
    "ImageInfo",
    "Polygons",
    "Prediction",
    "Rle",
    "Sample",
    "Segmentation",
    "build_shapes",
    "locate_data",
    "open_data",
    "read_image",
]
