# SPDX-License-Identifier: Apache-2.0
"""What readers of other formats find, and its way into COCO's layout."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ldie.errors import DataError
from ldie.files import first_line, scratch_folder
from ldie.tasks.detection.annotations import parse_annotations
from ldie.tasks.detection.images import is_image


class SourceImage(NamedTuple):
    """An image of another format, with its objects."""

    path: Path
    name: str
    """What it is to be called, relative to the folder of all images; another gets a number if two want one name."""
    size: tuple[int, int]
    """(H, W)."""
    objects: list[dict[str, Any]]
    """COCO's annotations without ``id`` and ``image_id``."""


class Source(NamedTuple):
    """A data set of another format."""

    categories: list[dict[str, Any]]
    """COCO's."""
    splits: dict[str, list[SourceImage]]


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and below, in the order of their names; hidden files are none."""
    return sorted(file for file in folder.rglob("*") if is_image(file) and not file.name.startswith("."))


def finite_number(text: str) -> float | None:
    """The number that a text says; None where it says none, or one that is not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped.

    Raises:
        DataError: It cannot be read, or is no text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore the file or make it readable") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}); save it as UTF-8") from error


def write_coco(source: Source, out: Path) -> dict[str, str]:
    """Writes ``out/images/`` and ``out/annotations/instances_SPLIT.json``, whole or not at all.

    Returns:
        What each split holds, in words.

    Raises:
        DataError: ``out`` is there already, or cannot be written.
    """
    try:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise DataError(f"{out}: exists already; remove it or choose another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out) as scratch:
            staged = scratch / "new"
            (staged / "annotations").mkdir(parents=True)
            found = _write(source, staged, out)
            staged.rename(out)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{out}: cannot be written ({reason}); free space or choose another folder") from error
    return found


def _write(source: Source, folder: Path, out: Path) -> dict[str, str]:
    """Writes to ``folder`` what is to be in ``out``."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    found = {}
    for split, images in source.splits.items():
        for image in images:
            if image.path not in names:
                names[image.path] = _free(image.name, taken)
                taken.add(names[image.path].casefold())
                _place(image.path, folder / "images" / names[image.path])
        content = _content(source.categories, images, names)
        file = Path("annotations") / f"instances_{split}.json"
        parse_annotations(content, out / file)  # nothing is written that the readers of COCO's files refuse
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
        found[split] = f"{len(images)} images, {len(content['annotations'])} objects"
    return found


def _content(
    categories: list[dict[str, Any]], images: list[SourceImage], names: dict[Path, str]
) -> dict[str, list[dict[str, Any]]]:
    """COCO's annotation file."""
    entries = [
        {"id": id, "file_name": names[image.path], "height": image.size[0], "width": image.size[1]}
        for id, image in enumerate(images, start=1)
    ]
    objects = [(id, item) for id, image in enumerate(images, start=1) for item in image.objects]
    annotations = [{"id": id, "image_id": image_id, **item} for id, (image_id, item) in enumerate(objects, start=1)]
    return {"images": entries, "annotations": annotations, "categories": categories}


def _free(name: str, taken: set[str]) -> str:
    """``name``, with a number if it is taken."""
    path, free, number = PurePosixPath(name), name, 1
    while free.casefold() in taken:  # some file systems do not tell A from a
        number += 1
        free = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    return free


def _place(image: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(image.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(image, target)
