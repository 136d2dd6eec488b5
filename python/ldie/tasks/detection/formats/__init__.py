# SPDX-License-Identifier: Apache-2.0
"""Data sets in the formats of other tools, converted to COCO's layout."""

from __future__ import annotations

from pathlib import Path

from ldie.errors import DataError
from ldie.files import is_file, is_folder
from ldie.tasks.detection.formats.source import Source, write_coco
from ldie.tasks.detection.formats.voc import read_voc
from ldie.tasks.detection.formats.yolo import find_names, find_yaml, read_darknet, read_yolo

__all__ = ["convert", "read_source"]


def convert(source: Path, out: Path) -> dict[str, str]:
    """Writes a data set in YOLO's or Pascal VOC's layout in COCO's; it appears whole or not at all.

    Images are hard links to those of the source where the file system has them, else copies.

    Args:
        source: Folder of the data set, or YOLO's YAML file.
        out: Folder to write, which must be new or empty.

    Returns:
        What was found, in words, by split.

    Raises:
        DataError: Something is missing or malformed, in no known layout, or ``out`` cannot be written.
    """
    try:
        found = read_source(source)
    except OSError as error:  # a folder that cannot be listed
        place = error.filename or source
        raise DataError(f"{place}: cannot be read ({error.strerror}); make it readable") from error
    return write_coco(found, out)


def read_source(path: Path) -> Source:
    """A data set in whichever of the layouts it is.

    Raises:
        DataError: In none of them, or something is missing or malformed.
    """
    if is_file(path):
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise DataError(f"{path}: not a YAML file; give the folder of a data set, or YOLO's YAML file")
        return read_yolo(path)
    if not is_folder(path):
        raise DataError(f"{path}: no such folder; give that of a data set in YOLO's or Pascal VOC's layout")
    if is_folder(path / "Annotations"):
        return read_voc(path)
    if yaml := find_yaml(path):
        return read_yolo(yaml)
    if names := find_names(path):
        return read_darknet(names)
    if is_folder(path / "annotations"):
        raise DataError(f"{path}: is in COCO's layout, it seems; give it to --data as it is")
    raise DataError(
        f"{path}: neither data.yaml (YOLO), nor obj.names (darknet), nor Annotations/ (Pascal VOC) is there; "
        "give the folder that has it, or YOLO's YAML file"
    )
