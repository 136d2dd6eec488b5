# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC: a list of names for each split, an XML file and an image for each name, perhaps masks.

Boxes are pixels counted from 1, the last one included. What is ``difficult`` becomes a crowd: it is not learned, and
whether it is found does not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ldie.errors import DataError
from ldie.files import first_line, is_file
from ldie.tasks.detection.annotations import brief
from ldie.tasks.detection.formats.source import Source, SourceImage, finite_number, read_lines
from ldie.tasks.detection.formats.xml_files import Node, read_xml
from ldie.tasks.detection.images import image_sizes, is_image
from ldie.tasks.detection.layouts import leaves_folder
from ldie_ext import rle_encode


def read_voc(root: Path) -> Source:
    """A data set with ``Annotations/``, ``JPEGImages/`` and ``ImageSets/Main/``.

    Splits are the lists in ``ImageSets/Main/`` with nothing but names (those of single classes have a second column),
    and with ``segmentation_`` before their names those in ``ImageSets/Segmentation/``. Where each image of a split that
    has objects has a file in ``SegmentationObject/``, masks come from there.

    Raises:
        DataError: Something is missing or malformed.
    """
    lists = _lists(root / "ImageSets" / "Main")
    if not lists:
        place = root / "ImageSets" / "Main"
        raise DataError(f"{place}: has no list of images such as train.txt; write one for each split, a name a line")
    lists |= {f"segmentation_{split}": names for split, names in _lists(root / "ImageSets" / "Segmentation").items()}
    folder = root / "JPEGImages"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; put the images there")
    files = sorted(file for file in folder.iterdir() if is_image(file))
    images = {file.stem: file for file in files} | {file.name: file for file in files}
    origins = {name: origin for names in lists.values() for origin, name in names}
    found = {name: _image(root, name, origin, images) for name, origin in origins.items()}
    classes = sorted({item["category_id"] for image in found.values() for item in image.objects})
    if not classes:
        raise DataError(f"{root / 'Annotations'}: no image has an object; give a data set with some")
    for image in found.values():
        for item in image.objects:
            item["category_id"] = classes.index(item["category_id"]) + 1
    categories = [{"id": id, "name": name} for id, name in enumerate(classes, start=1)]
    splits = {split: {name: found[name] for _, name in names} for split, names in lists.items()}
    return Source(categories, {split: _masked(root, members) for split, members in splits.items()})


def _masked(root: Path, images: dict[str, SourceImage]) -> list[SourceImage]:
    """The images of a split by their names, with masks if all that have objects have them."""
    files = {name: root / "SegmentationObject" / f"{name}.png" for name, image in images.items() if image.objects}
    if not all(file.is_file() for file in files.values()):
        return list(images.values())
    return [_with_masks(image, files[name]) if name in files else image for name, image in images.items()]


def _lists(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """The names of each split, each with the file and line that it stands in."""
    lists = {}
    for file in sorted(folder.glob("*.txt")):
        lines = [(f"{file}: line {n}", line) for n, line in enumerate(read_lines(file), start=1) if line]
        if lines and not all(len(line.split()) == 2 and line.split()[1] in ("-1", "0", "1") for _, line in lines):
            lists[file.stem] = lines
    return lists


def _image(root: Path, name: str, origin: str, images: dict[str, Path]) -> SourceImage:
    file = root / "Annotations" / f"{name}.xml"
    if leaves_folder(name) or not is_file(file):
        raise DataError(f"{origin}: {brief(name)} has no file in {root / 'Annotations'}; restore it or remove the line")
    node = read_xml(file)
    try:
        if node.name != "annotation":
            raise ValueError(f"line {node.line}: expected <annotation>, got {brief(node.name)}")
        path = _image_file(node, name, images)
        size = _size(node, path)
        return SourceImage(path, path.name, size, [_object(item, size) for item in node.all("object")])
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{file}: {error}; correct it") from error


def _image_file(node: Node, name: str, images: dict[str, Path]) -> Path:
    """The image called as the file that the annotation names, but for its suffix, or else as the annotation."""
    said = node.find("filename")
    file_name = said.text.strip().replace("\\", "/").rpartition("/")[2] if said else name
    for key in (file_name, Path(file_name).stem, name):
        if key in images:
            return images[key]
    raise ValueError(f"line {(said or node).line}: no image {brief(file_name)} in JPEGImages")


def _size(node: Node, path: Path) -> tuple[int, int]:
    """(H, W), the image's own where the annotation says nothing or 0, as some tools write."""
    upright, stored = image_sizes(path)
    said = node.find("size")
    if said is None:
        return upright
    size = int(_number(said.child("height"))), int(_number(said.child("width")))
    if size not in ((0, 0), upright, stored):
        raise ValueError(
            f"line {said.line}: size says {size[0]} x {size[1]}, but {path} has {upright[0]} x {upright[1]} pixels"
        )
    return upright if size == (0, 0) else size


def _object(node: Node, size: tuple[int, int]) -> dict[str, Any]:
    name = node.child("name").text.strip()
    if not name:
        raise ValueError(f"line {node.line}: <object> without a name")
    difficult = node.find("difficult")
    if difficult is not None and difficult.text.strip() not in ("", "0", "1"):
        raise ValueError(f"line {difficult.line}: difficult must be 0 or 1, got {brief(difficult.text.strip())}")
    x0, y0, width, height = _box(node.child("bndbox"), size)
    return {
        "category_id": name,
        "bbox": [x0, y0, width, height],
        "area": width * height,
        "iscrowd": int(difficult is not None and difficult.text.strip() == "1"),
    }


def _box(node: Node, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x, y, width, height; a coordinate may be one pixel beyond the image, where some tools count otherwise."""
    ends = []
    for low_name, high_name, length in (("xmin", "xmax", size[1]), ("ymin", "ymax", size[0])):
        low, high = _number(node.child(low_name)), _number(node.child(high_name))
        if not 0 <= low <= high <= length + 1:
            raise ValueError(
                f"line {node.line}: {low_name} {low:g}, {high_name} {high:g} must be in order and in the image's "
                f"1 to {length}"
            )
        ends.append((max(low - 1, 0.0), min(high, float(length))))
    (x0, x1), (y0, y1) = ends
    return x0, y0, max(x1 - x0, 0.0), max(y1 - y0, 0.0)


def _number(node: Node) -> float:
    value = finite_number(node.text)
    if value is None:
        raise ValueError(f"line {node.line}: {node.name} must be a number, got {brief(node.text.strip())}")
    return value


def _with_masks(image: SourceImage, file: Path) -> SourceImage:
    """With the masks of a file in which the pixels of the first object are 1, of the second 2, and so on."""
    pixels = _indices(file)
    if pixels.shape != image.size:
        raise DataError(
            f"{file}: has {pixels.shape[0]} x {pixels.shape[1]} pixels, but its image {image.size[0]} x "
            f"{image.size[1]}; replace the file"
        )
    masks = rle_encode(torch.from_numpy(pixels == np.arange(1, len(image.objects) + 1)[:, None, None]))
    objects = [
        {**item, "segmentation": {"size": list(image.size), "counts": counts.tolist()}, "area": int(counts[1::2].sum())}
        for item, counts in zip(image.objects, masks.counts.tensor_split(masks.offsets[1:-1]))
    ]
    return image._replace(objects=objects)


def _indices(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as picture:
            if picture.mode not in ("P", "L"):
                raise ValueError(f"mode {picture.mode} instead of a palette")
            return np.asarray(picture)
    except Exception as error:  # Pillow's readers report broken files in many ways
        raise DataError(f"{file}: not a PNG of object numbers ({first_line(error)}); replace the file") from error
