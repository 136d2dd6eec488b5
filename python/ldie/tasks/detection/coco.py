# SPDX-License-Identifier: Apache-2.0
"""Data sets in COCO's folder layout."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldie.errors import DataError
from ldie.tasks.detection.annotations import Annotation, AnnotationFile, Category, ImageInfo, read_annotations
from ldie.tasks.detection.images import read_annotated_image
from ldie.tasks.detection.masks import Masks, from_coco
from ldie.tasks.detection.sample import Sample


class CocoDataset(Dataset[Sample]):
    """The images of one split with their objects; images without objects are kept.

    Reads ``root/SPLIT/`` (images) and ``root/annotations/instances_SPLIT.json``; keypoints come from
    ``person_keypoints_SPLIT.json`` where that file exists (matched by annotation id), else from the instances file.
    All of it is checked here; only an image's contents are checked when it is read. An image with an EXIF orientation
    is read upright, or as it is stored where only so it has the annotated size.

    Args:
        root: Folder of the data set.
        split: ``train2017``, ``val2017`` or any other split that is there.

    Raises:
        DataError: Something is missing or malformed; here, or for an image that cannot be read, on access.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.root = Path(root)
        self.split = split
        self.image_dir = self.root / split
        self.annotation_file = self.root / "annotations" / f"instances_{split}.json"
        content = read_annotations(self.annotation_file)
        for section in ("categories", "images"):
            if not getattr(content, section):
                raise DataError(f"{self.annotation_file}: {section} is empty; give a data set with some")
        self.keypoint_file: Path | None = self.root / "annotations" / f"person_keypoints_{split}.json"
        """The file with keypoints, None when the data set has none."""
        if self.keypoint_file.exists():
            content = _with_keypoints(content, read_annotations(self.keypoint_file))
        elif any(category.keypoints for category in content.categories.values()):
            self.keypoint_file = self.annotation_file
        else:
            self.keypoint_file = None
        self.categories: list[Category] = [content.categories[id] for id in sorted(content.categories)]
        """Classes in the order of labels."""
        self.images: list[ImageInfo] = list(content.images.values())
        """Images in the order of indices."""
        self._annotations: dict[int, list[Annotation]] = {image.id: [] for image in self.images}
        for annotation in content.annotations.values():
            self._annotations[annotation.image_id].append(annotation)
        self.has_masks = all(a.segmentation is not None for a in content.annotations.values())
        """Whether every object has a segmentation; if not, samples have no masks."""
        self._label_of = {category.id: label for label, category in enumerate(self.categories)}
        self._check_files()

    @property
    def class_names(self) -> list[str]:
        """Name of each label."""
        return [category.name for category in self.categories]

    @property
    def label_to_category_id(self) -> list[int]:
        """The file's category id of each label."""
        return [category.id for category in self.categories]

    @property
    def image_ids(self) -> list[int]:
        """Image id of each index."""
        return [image.id for image in self.images]

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Names of a sample's keypoints; empty without keypoints. Classes with fewer fill up with visibility 0."""
        return self._keypoint_category.keypoints

    @property
    def skeleton(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a sample's keypoints to join in pictures."""
        return self._keypoint_category.skeleton

    @property
    def _keypoint_category(self) -> Category:
        return max(self.categories, key=lambda category: len(category.keypoints))

    @property
    def flip_pairs(self) -> list[tuple[int, int]]:
        """Keypoints that change places in a mirror, by their names: ``left_eye`` and ``right_eye``."""
        names = self.keypoint_names
        partners = [(i, name.replace("left", "right")) for i, name in enumerate(names) if "left" in name]
        return [(i, names.index(partner)) for i, partner in partners if partner in names]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        info = self.images[index]
        size = info.height, info.width
        annotations = self._annotations[info.id]
        return Sample(
            image=read_annotated_image(self.image_dir / info.file_name, size, self.annotation_file),
            image_id=info.id,
            boxes=_boxes(annotations),
            labels=torch.tensor([self._label_of[a.category_id] for a in annotations], dtype=torch.int64),
            iscrowd=torch.tensor([a.iscrowd for a in annotations], dtype=torch.bool),
            masks=_masks(annotations, size) if self.has_masks else None,
            keypoints=_keypoints(annotations, len(self.keypoint_names)),
            size=size,
            file_name=info.file_name,
        )

    def objects(self, index: int) -> list[Annotation]:
        """The annotations of an image, crowds included, without reading the image."""
        return self._annotations[self.images[index].id]

    def subset(self, indices: Iterable[int]) -> CocoDataset:
        """The same data set with only some of its images, in the given order."""
        part = copy.copy(self)
        part.images = [self.images[index] for index in indices]
        return part

    def _check_files(self) -> None:
        if not self.image_dir.is_dir():
            raise DataError(f"{self.image_dir}: no such folder; put the images of {self.annotation_file.name} there")
        present = {entry.name for entry in self.image_dir.iterdir()}
        for image in self.images:
            parts = PurePosixPath(image.file_name).parts
            if len(parts) == 1 and image.file_name in present:
                continue
            path = self.image_dir / image.file_name
            if ".." in parts or PurePosixPath(image.file_name).is_absolute():
                raise DataError(
                    f"{self.annotation_file}: file_name {image.file_name!r} of image {image.id} leaves "
                    f"the folder {self.image_dir}; correct it"
                )
            if not path.is_file():
                raise DataError(
                    f"{path}: no such image, but {self.annotation_file} lists it; restore the file or remove the entry"
                )


def _with_keypoints(content: AnnotationFile, extra: AnnotationFile) -> AnnotationFile:
    """``content`` with the keypoints of ``extra``'s annotations and categories of the same ids."""
    categories = dict(content.categories)
    for id, category in extra.categories.items():
        if id in categories:
            categories[id] = categories[id]._replace(keypoints=category.keypoints, skeleton=category.skeleton)
    annotations = dict(content.annotations)
    for id, annotation in extra.annotations.items():
        if id in annotations:
            annotations[id] = annotations[id]._replace(keypoints=annotation.keypoints)
    return AnnotationFile(categories, content.images, annotations)


def _boxes(annotations: list[Annotation]) -> Tensor:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (a.box for a in annotations)]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _masks(annotations: list[Annotation], size: tuple[int, int]) -> Masks:
    found = (a.segmentation for a in annotations)
    forms = [mask if isinstance(mask, dict) else [part.tolist() for part in mask or ()] for mask in found]
    return from_coco(forms, size)


def _keypoints(annotations: list[Annotation], count: int) -> Tensor | None:
    if not count:
        return None
    keypoints = torch.zeros(len(annotations), count, 3)
    for row, annotation in zip(keypoints, annotations, strict=True):
        if annotation.keypoints:
            points = torch.tensor(annotation.keypoints, dtype=torch.float32).reshape(-1, 3)
            row[: len(points)] = points
    return keypoints
