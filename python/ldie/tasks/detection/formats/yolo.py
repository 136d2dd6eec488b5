# SPDX-License-Identifier: Apache-2.0
"""YOLO: Ultralytics' YAML file with folders or lists of images, and darknet's lists.

Labels stand in a text file for each image, in ``labels/`` where the image is in ``images/``, else beside it. An image
without one has no objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ldie.config import load_yaml
from ldie.errors import DataError
from ldie.files import is_file
from ldie.tasks.detection.annotations import brief
from ldie.tasks.detection.formats.source import Source, SourceImage, image_files, read_lines
from ldie.tasks.detection.formats.yolo_labels import Points, read_labels
from ldie.tasks.detection.images import image_sizes

_SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
"""Names in files, and ours."""


def find_yaml(folder: Path) -> Path | None:
    """The YAML file of a folder: ``data.yaml``, or the only one that there is."""
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    named = [file for file in files if file.stem == "data"]
    return (named or files)[0] if len(files) == 1 or named else None


def find_names(folder: Path) -> Path | None:
    """The list of classes as darknet has it: ``obj.names``, or the only file so called."""
    files = sorted(folder.glob("*.names"))
    named = [file for file in files if file.stem == "obj"]
    return (named or files)[0] if len(files) == 1 or named else None


def read_yolo(file: Path) -> Source:
    """The data set of a YAML file with ``names``, ``train``, ``val``, perhaps ``path``, ``test`` and ``kpt_shape``.

    Raises:
        DataError: Something is missing or malformed.
        ConfigError: The file is no YAML.
    """
    values = load_yaml(file)
    try:
        names, points = _names(values), _points(values)
        folders = _folders(file, values)
        listed = {
            split: [image for entry in _entries(values[key], key) for image in _listed(entry, folders, key)]
            for key, split in _SPLITS.items()
            if values.get(key)
        }
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{file}: {error}; correct it") from error
    if not listed:
        raise DataError(f"{file}: names no images; give folders or lists as train and val")
    return _source(names, points, listed)


def read_darknet(names_file: Path) -> Source:
    """The data set of a folder with ``obj.names`` and lists of images: ``train.txt``, ``valid.txt``, ``test.txt``.

    Raises:
        DataError: Something is missing or malformed.
    """
    folder = names_file.parent
    lists = {split: folder / f"{name}.txt" for name, split in _SPLITS.items() if is_file(folder / f"{name}.txt")}
    if not lists:
        raise DataError(f"{folder / 'train.txt'}: no such list of images; write one for each split")
    names = [line for line in read_lines(names_file) if line]
    if not names:
        raise DataError(f"{names_file}: names no classes; write a name a line")
    return _source(names, None, {split: list(_in_list(file, [folder])) for split, file in lists.items()})


def _source(names: list[str], points: Points | None, listed: dict[str, list[tuple[Path, str]]]) -> Source:
    extra = {} if points is None else {"keypoints": list(points.names), "skeleton": []}
    categories = [{"id": id, "name": name, **extra} for id, name in enumerate(names)]
    splits = {}
    for split, images in listed.items():
        labels = [_label_file(path) for path, _ in images]
        if not any(is_file(file) for file in labels):
            raise DataError(f"{labels[0]}: no such labels, nor of any other image of {split}; put them there")
        splits[split] = [
            _image(path, f"{split}/{name}", file, names, points) for (path, name), file in zip(images, labels)
        ]
    return Source(categories, splits)


def _image(path: Path, name: str, labels: Path, names: Sequence[str], points: Points | None) -> SourceImage:
    size, _ = image_sizes(path)
    objects = read_labels(labels, names, points, size) if is_file(labels) else []
    return SourceImage(path, name, size, objects)


def _label_file(image: Path) -> Path:
    folders = list(image.parent.parts)
    for i in reversed(range(len(folders))):
        if folders[i] == "images":
            folders[i] = "labels"
            break
    return Path(*folders, f"{image.stem}.txt")


def _names(values: dict[str, Any]) -> list[str]:
    names = values.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise ValueError(f"names must be numbered from 0 on, got {brief(list(names))}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"names must be a list of classes, or classes by number, got {brief(names)}")
    wrong = [name for name in names if isinstance(name, bool) or not isinstance(name, (str, int, float)) or name == ""]
    if wrong:
        raise ValueError(f"names must be texts (put quotes around yes, no, on, off and null), got {brief(wrong[0])}")
    if values.get("nc", len(names)) != len(names):
        raise ValueError(f"nc is {brief(values['nc'])}, but there are {len(names)} names")
    return [str(name) for name in names]


def _points(values: dict[str, Any]) -> Points | None:
    shape = values.get("kpt_shape")
    if shape is None:
        return None
    numbers = isinstance(shape, list) and len(shape) == 2 and all(type(number) is int for number in shape)
    if not numbers or shape[0] < 1 or shape[1] not in (2, 3):
        raise ValueError(f"kpt_shape must be the number of keypoints and 2 or 3, got {brief(shape)}")
    order = values.get("flip_idx") or list(range(shape[0]))
    if not isinstance(order, list) or sorted(order, key=str) != sorted(range(shape[0]), key=str):
        raise ValueError(f"flip_idx must name each of the {shape[0]} keypoints once, got {brief(order)}")
    return Points(tuple(_point_name(i, order[i]) for i in range(shape[0])), shape[1])


def _point_name(number: int, mirrored: int) -> str:
    """YOLO's keypoints have numbers only; from names like these the readers know again what a mirror exchanges."""
    if number == mirrored:
        return f"point_{number}"
    return f"left_{number}" if number < mirrored else f"right_{mirrored}"


def _folders(file: Path, values: dict[str, Any]) -> list[Path]:
    """What the file's entries may be relative to."""
    path = values.get("path")
    if path is not None and not isinstance(path, str):
        raise ValueError(f"path must be a folder, got {brief(path)}")
    return [file.parent / path, file.parent] if path else [file.parent]


def _entries(value: Any, key: str) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise ValueError(f"{key} must be a folder or a list of images, or several, got {brief(value)}")
    return entries


def _listed(entry: str, folders: Sequence[Path], key: str) -> list[tuple[Path, str]]:
    """The images of an entry, and what they are called in it."""
    place = _found(entry, folders)
    if place is None:
        raise ValueError(f"{key}: neither a folder nor a list of images: {brief(entry)} in {folders[0]}")
    if place.is_dir():
        images = [(image, image.relative_to(place).as_posix()) for image in image_files(place)]
    else:
        images = list(_in_list(place, folders))
    if not images:
        raise DataError(f"{place}: has no images, and is to be {key}; give another folder or list")
    return images


def _in_list(file: Path, folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(read_lines(file), start=1):
        if line:
            image = _found(line, [file.parent, *folders])
            if image is None or not image.is_file():
                raise DataError(f"{file}: line {number}: no such image {brief(line)}; restore it or remove the line")
            yield image, image.name


def _found(entry: str, folders: Sequence[Path]) -> Path | None:
    """Where a file or folder is that was written down relative to another folder than it is now.

    Roboflow writes ``../train/images`` for ``train/images``, darknet ``data/obj/1.jpg`` for what is beside its list.
    """
    entry = entry.replace("\\", "/")
    for folder in folders:
        for name in (entry, entry.removeprefix("../"), entry.removeprefix("data/")):
            try:
                if name and (folder / name).exists():
                    return folder / name
            except (OSError, ValueError):  # too long a name, a NUL in it
                continue
    return None
