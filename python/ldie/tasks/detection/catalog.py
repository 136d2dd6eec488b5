# SPDX-License-Identifier: Apache-2.0
"""Data by name: a generated data set or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ldie.errors import DataError
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.shapes import build_shapes

GENERATED = {"shapes": False, "shapes-hard": True}
"""Names of the generated data sets and whether they are the hard variant."""


def locate_data(name_or_dir: str | Path, work_dir: str | Path, *, seed: int = 0) -> Path:
    """The folder of a data set, generated first if need be.

    Args:
        name_or_dir: ``shapes``, ``shapes-hard``, or a folder in COCO's layout.
        work_dir: Where generated data goes, in a folder of its name.
        seed: Of generated data.

    Raises:
        DataError: Neither a known name nor a folder.
    """
    if str(name_or_dir) in GENERATED:
        return build_shapes(Path(work_dir) / str(name_or_dir), hard=GENERATED[str(name_or_dir)], seed=seed)
    root = Path(name_or_dir)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; give {' or '.join(GENERATED)} or a folder in COCO's layout "
            "(images in train2017/ and val2017/, annotations/instances_train2017.json and ..._val2017.json) or that of "
            "another tool (docs/datasets.md; ldie convert takes YOLO's and Pascal VOC's)"
        )
    return root


def open_splits(root: Path, names: Sequence[str], categories: Sequence[str] = ()) -> list[CocoDataset]:
    """Splits of a data set; ``categories`` as for :class:`CocoDataset`.

    Raises:
        DataError: Missing or malformed data, or splits whose categories differ.
    """
    splits = [CocoDataset(root, name, categories) for name in names]
    for split in splits[1:]:
        if split.categories != splits[0].categories:
            raise DataError(
                f"{split.annotation_file}: its categories differ from those of {splits[0].annotation_file.name}; "
                "give both splits the same"
            )
    return splits


def part_of(dataset: CocoDataset, *, drop_empty: bool = False, limit: int = 0) -> CocoDataset:
    """The images to learn from.

    Args:
        dataset: With all images.
        drop_empty: Leave out images where there is nothing to find: no objects, or only crowds.
        limit: Take so many of the others, in the order of the annotation file; 0: all.

    Raises:
        DataError: No image is left.
    """
    indices = [i for i in range(len(dataset)) if not drop_empty or any(not item.iscrowd for item in dataset.objects(i))]
    if not indices:
        raise DataError(
            f"{dataset.annotation_file}: no image has an object of {', '.join(dataset.class_names[:5])}; "
            "set dataset.drop_empty=false or other dataset.categories"
        )
    return dataset.subset(indices[: limit or None])
