# SPDX-License-Identifier: Apache-2.0
"""Data sets in COCO's folder layout."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldie.errors import DataError
from ldie.tasks.detection.annotations import (
    Annotation,
    AnnotationFile,
    Category,
    ImageInfo,
    brief,
    read_annotations,
)
from ldie.tasks.detection.geometry import mirror_pairs
from ldie.tasks.detection.images import read_annotated_image
from ldie.tasks.detection.layouts import ImageFolder, find_split, leaves_folder
from ldie.tasks.detection.masks import Masks, from_coco
from ldie.tasks.detection.sample import Sample


class CocoDataset(Dataset[Sample]):
    """The images of one split with their objects; images without objects are kept.

    Reads ``root/SPLIT/`` (images) and ``root/annotations/instances_SPLIT.json``, or what else
    :data:`~ldie.tasks.detection.layouts.LAYOUTS` names; keypoints come from ``person_keypoints_SPLIT.json`` where that
    file exists (matched by annotation id), else from the instances file. All of it is checked here; only an image's
    contents are checked when it is read. An image with an EXIF orientation is read upright, or as it is stored where
    only so it has the annotated size.

    Args:
        root: Folder of the data set.
        split: ``train2017``, ``val2017`` or any other split that is there.
        categories: Names of the categories to take, in the order of the labels; objects of others are left out, their
            images stay. Empty: all, in the order of their ids.

    Raises:
        DataError: Something is missing or malformed; here, or for an image that cannot be read, on access.
    """

    def __init__(self, root: str | Path, split: str, categories: Sequence[str] = ()) -> None:
        self.root = Path(root)
        files = find_split(self.root, split)
        self.split = files.name
        self.annotation_file = files.annotation_file
        self.truth = read_annotations(self.annotation_file)
        """What the annotation file says of the categories taken, with the keypoints of the other file."""
        for section in ("categories", "images"):
            if not getattr(self.truth, section):
                raise DataError(f"{self.annotation_file}: {section} is empty; give a data set with some")
        ids = _chosen(self.truth, categories, self.annotation_file)
        self.truth = _only(self.truth, ids)
        self.keypoint_file: Path | None = self.root / "annotations" / f"person_keypoints_{self.split}.json"
        """The file with keypoints, None when the data set has none."""
        self.keypoint_truth: AnnotationFile | None = None
        """The objects whose keypoints are to be found, with those keypoints; images may be left out."""
        if self.keypoint_file.exists():
            self.truth, self.keypoint_truth = _joined(self.truth, self.keypoint_file)
        else:
            self.keypoint_file, self.keypoint_truth = self.annotation_file, self.truth
        if not any(category.keypoints for category in self.truth.categories.values()):
            self.keypoint_file = self.keypoint_truth = None
        self.categories: list[Category] = [self.truth.categories[id] for id in ids]
        """Classes in the order of labels."""
        self.image_dir, self.images = self._find_images(files.image_dirs)
        self._annotations: dict[int, list[Annotation]] = {image.id: [] for image in self.images}
        for annotation in self.truth.annotations.values():
            self._annotations[annotation.image_id].append(annotation)
        self.has_masks = all(a.segmentation is not None for a in self.truth.annotations.values())
        """Whether every object has a segmentation; if not, samples have no masks."""
        self._label_of = {category.id: label for label, category in enumerate(self.categories)}

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
    def groups(self) -> list[int]:
        """Whether each image is taller than wide, by the annotation file: see ``dataset.aspect_grouping``."""
        return [int(image.height > image.width) for image in self.images]

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
        """Keypoints that change places in a mirror; see :func:`~ldie.tasks.detection.geometry.mirror_pairs`."""
        return mirror_pairs(self.keypoint_names)

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

    def _find_images(self, folders: tuple[Path, ...]) -> tuple[Path, list[ImageInfo]]:
        """The folder that the images are in, and the images under the names that they have there."""
        listed = list(self.truth.images.values())
        there = [ImageFolder(folder) for folder in folders if folder.is_dir()]
        fitting = [folder for folder in there if folder.find(listed[0].file_name)]
        if not fitting and all(folder.path == self.root for folder in there):
            raise DataError(f"{folders[0]}: no such folder; put the images of {self.annotation_file.name} there")
        folder = (fitting or there)[0]
        return folder.path, [info._replace(file_name=self._name_in(folder, info)) for info in listed]

    def _name_in(self, folder: ImageFolder, info: ImageInfo) -> str:
        entry = f"{self.annotation_file}: file_name {brief(info.file_name)} of image {info.id}"
        if leaves_folder(info.file_name):
            raise DataError(f"{entry} leaves the folder {folder.path}; correct it")
        name = folder.find(info.file_name)
        if name is None:
            tried = ", with slashes for its back slashes neither" if "\\" in info.file_name else ""
            raise DataError(f"{entry}: no such image in {folder.path}{tried}; restore the file or remove the entry")
        return name


def _chosen(truth: AnnotationFile, names: Sequence[str], file: Path) -> list[int]:
    """Ids of the categories with these names, in their order; of all, where there are no names."""
    if not names:
        return sorted(truth.categories)
    ids: dict[str, list[int]] = {}
    for category in truth.categories.values():
        ids.setdefault(category.name, []).append(category.id)
    for name in names:
        if name not in ids:
            near = difflib.get_close_matches(name, ids, n=1) or list(ids)[:5]
            raise DataError(f"{file}: has no category {brief(name)}; did you mean {', '.join(map(brief, near))}?")
        if len(ids[name]) > 1 or list(names).count(name) > 1:
            place = "the file" if len(ids[name]) > 1 else "dataset.categories"
            raise DataError(f"{file}: category {brief(name)} is in {place} twice; each needs a name of its own")
    return [ids[name][0] for name in names]


def _only(truth: AnnotationFile, ids: Collection[int]) -> AnnotationFile:
    """What the file says of some categories; all its images."""
    categories = {id: truth.categories[id] for id in ids}
    annotations = {id: item for id, item in truth.annotations.items() if item.category_id in categories}
    return AnnotationFile(categories, truth.images, annotations)


def _joined(truth: AnnotationFile, path: Path) -> tuple[AnnotationFile, AnnotationFile]:
    """``truth`` with the keypoints of the file ``path``, by the ids of annotations and categories; and its own truth.

    The latter is what the file says of categories that ``truth`` has.
    """
    extra = read_annotations(path)
    for id in truth.images.keys() & extra.images.keys():
        if truth.images[id][2:] != extra.images[id][2:]:
            raise DataError(f"{path}: image {id} has another size than in the instances file; correct one of them")
    categories = dict(truth.categories)
    for id, category in extra.categories.items():
        if id in categories:
            categories[id] = categories[id]._replace(keypoints=category.keypoints, skeleton=category.skeleton)
    annotations = {}
    for id, annotation in truth.annotations.items():
        other = extra.annotations.get(id)
        if other is not None:
            if (other.image_id, other.category_id) != (annotation.image_id, annotation.category_id):
                raise DataError(
                    f"{path}: annotation {id} is of another image or category than in the instances file; "
                    "give files whose annotation ids agree"
                )
            annotation = annotation._replace(keypoints=other.keypoints, num_keypoints=other.num_keypoints)
        elif annotation.category_id in extra.categories:
            annotation = annotation._replace(keypoints=None, num_keypoints=0)
        annotations[id] = annotation
    known = {id: a._replace(segmentation=None) for id, a in extra.annotations.items() if a.category_id in categories}
    return AnnotationFile(categories, truth.images, annotations), AnnotationFile(categories, extra.images, known)


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
