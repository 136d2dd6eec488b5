# SPDX-License-Identifier: Apache-2.0
"""What a data set must have for a model to learn it."""

from __future__ import annotations

from ldie.errors import DataError, short
from ldie.tasks.detection.coco import CocoDataset


def require(dataset: CocoDataset, *, masks: str | None = None, keypoints: str | None = None) -> None:
    """Checks that there are objects to learn from, and that they have masks and keypoints where these are needed.

    Args:
        dataset: To train on; only its images count, but for masks, which a sample has if all objects of the file do.
        masks: The setting that does without masks, such as ``model.mask_head.enabled=false``, to be named in the
            message; None: masks are not needed.
        keypoints: Likewise.

    Raises:
        DataError: Something is missing.

    Example:
        >>> import tempfile
        >>> from ldie.tasks.detection import build_shapes
        >>> root = build_shapes(tempfile.mkdtemp(), train=8, val=1)
        >>> require(CocoDataset(root, "train2017"), keypoints="model.keypoint_head.enabled=false")
    """
    _require_objects(dataset)
    if masks is not None and not dataset.has_masks:
        _refuse_masks(dataset, masks)
    if keypoints is not None:
        _require_keypoints(dataset, keypoints)


def _require_objects(dataset: CocoDataset) -> None:
    items = [item for index in range(len(dataset)) for item in dataset.objects(index)]
    if all(item.iscrowd for item in items):
        there = f"only {_count(len(items), 'crowd')}" if items else "none"
        raise DataError(
            f"{dataset.annotation_file}: has no object to learn from in {_count(len(dataset), 'image')}, {there}; "
            "annotate single objects, or choose other images or dataset.categories"
        )


def _refuse_masks(dataset: CocoDataset, without: str) -> None:
    items = dataset.truth.annotations.values()
    missing = [item.id for item in items if item.segmentation is None]
    raise DataError(
        f"{dataset.annotation_file}: {len(missing)} of {_count(len(items), 'object')} have no segmentation to learn "
        f"masks from (annotations {short(map(str, missing))}); add it, or set {without}"
    )


def _require_keypoints(dataset: CocoDataset, without: str) -> None:
    names = dataset.keypoint_names
    if not names:
        raise DataError(
            f"{dataset.annotation_file}: its categories ({short(dataset.class_names)}) have no keypoints; add them "
            f"here or in annotations/person_keypoints_{dataset.split}.json, or set {without}"
        )
    objects = (item for index in range(len(dataset)) for item in dataset.objects(index) if not item.iscrowd)
    if not any(seen > 0 for item in objects for seen in (item.keypoints or ())[2::3]):
        raise DataError(
            f"{dataset.keypoint_file}: no object has a labelled keypoint ({short(names)}) in "
            f"{_count(len(dataset), 'image')}; label some, or set {without}"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
