# SPDX-License-Identifier: Apache-2.0
"""Scenes of a data set in COCO's layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import torch
from PIL import Image

from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.masks import resize, to_bitmaps
from ldie.tasks.detection.sample import Sample
from ldie.tasks.editing.synedit.scene import Scene, SceneObject, box_of, position_of


def coco_scenes(dataset: CocoDataset, longest: int | None = None) -> Iterator[tuple[str, Scene]]:
    """Names and scenes of the images in their order; crowds and objects without a pixel are no objects.

    Args:
        dataset: Objects without masks are left out, too.
        longest: The longer side, to which larger images are shrunk; None: they stay as they are.
    """
    for index in range(len(dataset)):
        sample = dataset[index]
        yield PurePosixPath(sample.file_name).stem, _scene(sample, dataset.class_names, longest)


def _scene(sample: Sample, names: list[str], longest: int | None) -> Scene:
    sample = sample.select(~sample.iscrowd)
    size = _shrunk_size(sample.size, longest)
    image = sample.image.permute(1, 2, 0).contiguous()
    masks = torch.zeros(0, *size, dtype=torch.bool)
    if sample.masks is not None:
        masks = to_bitmaps(resize(sample.masks, sample.size, size), size)
    if size != sample.size:
        shrunk = Image.fromarray(image.numpy()).resize(size[::-1], Image.Resampling.LANCZOS)
        image = torch.from_numpy(np.array(shrunk))
    visible = masks.flatten(1).any(1)
    labels = sample.labels[: len(masks)][visible].tolist()
    masks = masks[visible]
    boxes = [box_of(mask) for mask in masks]
    objects = [
        SceneObject(names[label], box, position_of(box, *size)) for label, box in zip(labels, boxes, strict=True)
    ]
    return Scene(image, masks, tuple(objects))


def _shrunk_size(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    if longest is None or max(size) <= longest:
        return size
    height, width = (max(1, round(side * longest / max(size))) for side in size)
    return height, width
