# SPDX-License-Identifier: Apache-2.0
"""Where a split's annotation file and images are, in the folders that the usual tools write."""

from __future__ import annotations

import errno
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ldie.errors import DataError
from ldie.tasks.detection.annotations import brief

_COCO_FOLDERS = ("{split}", "images/{split}", "images", ".")
LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("annotations/instances_{split}.json", _COCO_FOLDERS),  # COCO, Ultralytics, CVAT (its only split is "default")
    ("annotations/{split}.json", _COCO_FOLDERS),
    ("{split}/_annotations.coco.json", ("{split}", ".")),  # Roboflow, RF-DETR
    ("{split}/labels.json", ("{split}/data",)),  # FiftyOne, a folder for each split
)
"""Annotation files, and the folders (from the data set's) that their images may be in; the first that fits counts."""
FOREIGN = ("data.yaml", "obj.names", "Annotations")
"""What only YOLO's, darknet's and Pascal VOC's folders have."""
OTHER_NAMES = {"train2017": ("train",), "val2017": ("val", "valid")}
"""What else the splits are called that a configuration names unless told otherwise."""


class SplitFiles(NamedTuple):
    """Where a split is."""

    name: str
    annotation_file: Path
    image_dirs: tuple[Path, ...]
    """Folders that may hold its images, whether they exist or not."""


def find_split(root: Path, split: str) -> SplitFiles:
    """The files of a split; ``train2017`` and ``val2017`` may also be called ``train``, and ``val`` or ``valid``.

    Raises:
        DataError: No layout fits; the message says what was looked for and which splits are there.
    """
    found = _fitting(root, split)
    if found is None:
        others = [files for name in OTHER_NAMES.get(split, ()) if (files := _fitting(root, name))]
        found = others[0] if len(others) == 1 else None
    if found is None:
        shown = split if split.isprintable() and len(split) < 60 else brief(split)
        first, *rest = (pattern.format(split=shown) for pattern, _ in LAYOUTS)
        raise DataError(f"{root / first}: no such annotation file, nor {', '.join(rest)}; {_advice(root)}")
    return found


class ImageFolder:
    """The images in a folder, by the names that annotation files give them.

    Raises:
        OSError: The folder cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = {entry.name for entry in path.iterdir()}

    def find(self, file_name: str) -> str | None:
        """The spelling of a file's name that is there.

        Tried are the name as given, with slashes for back slashes, and with composed or decomposed accents (NFC, NFD).
        """
        return next((name for name in _spellings(file_name) if self._has(name)), None)

    def _has(self, name: str) -> bool:
        try:
            return (name in self._entries and "/" not in name) or (self.path / name).is_file()
        except (OSError, ValueError):  # too long a name, a NUL in it
            return False


def leaves_folder(file_name: str) -> bool:
    """Whether a name leads out of the folder that it is relative to."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def _fitting(root: Path, split: str) -> SplitFiles | None:
    for pattern, folders in LAYOUTS:
        file = root / pattern.format(split=split)
        if _is_there(file):
            places = (root / folder.format(split=split) for folder in folders)
            return SplitFiles(split, file, tuple(places))
    return None


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def _advice(root: Path) -> str:
    names = _splits(root)
    if names:
        return f"name a split that is there: {', '.join(names)}"
    if any((root / name).exists() for name in FOREIGN):
        return f"ldie convert {root} --out DIR makes a folder with them"
    return "a data set needs one for each split"


def _splits(root: Path) -> list[str]:
    """Names of the splits that are there in any of the layouts."""
    return sorted({name for pattern, _ in LAYOUTS for name in _matches(root, pattern)})


def _matches(root: Path, pattern: str) -> Iterator[str]:
    before, _, after = pattern.partition("{split}")
    for file in root.glob(f"{before}*{after}"):
        name = file.relative_to(root).as_posix()[len(before) :].removesuffix(after)
        if not name.startswith(("instances_", "person_keypoints_", "captions_")):  # annotations/{split}.json fits, too
            yield name


def _spellings(file_name: str) -> Iterable[str]:
    slashed = (file_name, file_name.replace("\\", "/"))
    composed = (unicodedata.normalize("NFC", name) for name in slashed)
    decomposed = (unicodedata.normalize("NFD", name) for name in slashed)
    return dict.fromkeys((*slashed, *composed, *decomposed))
