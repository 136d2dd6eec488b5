# SPDX-License-Identifier: Apache-2.0
"""COCO annotation files: parsed and checked once, so that nothing malformed is met in the middle of a training."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ldie.errors import DataError
from ldie_ext.coco import mask as coco_mask

Rle: TypeAlias = dict[str, Any]
"""COCO's run lengths: ``size`` [H, W] and ``counts``, a list or COCO's string."""
Item = TypeVar("Item", "Category", "ImageInfo", "Annotation")


class Category(NamedTuple):
    """A class of objects."""

    id: int
    """The file's id, any integer; labels count from 0 in the order of these ids."""
    name: str
    keypoints: tuple[str, ...] = ()
    """Names of the keypoints that objects of this class have."""
    skeleton: tuple[tuple[int, int], ...] = ()
    """Pairs of keypoints to join in pictures, counted from 0 (in the file from 1)."""


class ImageInfo(NamedTuple):
    """An image of the data set."""

    id: int
    file_name: str
    height: int
    width: int


class Annotation(NamedTuple):
    """One object; numbers in arrays, since lists of floats take four times the memory."""

    id: int
    image_id: int
    category_id: int
    box: tuple[float, float, float, float]
    """x, y, width, height."""
    iscrowd: bool
    segmentation: list[array[float]] | Rle | None
    keypoints: array[float] | None
    """x, y, visibility of each keypoint of the category."""


@dataclass(frozen=True)
class AnnotationFile:
    """Contents of an annotation file."""

    categories: dict[int, Category]
    images: dict[int, ImageInfo]
    annotations: dict[int, Annotation]


def read_annotations(path: Path) -> AnnotationFile:
    """Reads an annotation file in COCO's format.

    Polygon parts of fewer than three points, which COCO contains, enclose nothing and are left out.

    Raises:
        DataError: Not readable, not JSON, or an entry that is malformed or names an unknown image or category.
    """
    content = _parse(path)
    categories = _collect(path, content, "categories", _category)
    images = _collect(path, content, "images", _image)

    def annotation(entry: dict[str, Any]) -> Annotation:
        item = _annotation(entry)
        if item.image_id not in images:
            raise ValueError(f"image_id {item.image_id} is not among the images")
        if item.category_id not in categories:
            raise ValueError(f"category_id {item.category_id} is not among the categories")
        _check_fit(item, images[item.image_id], categories[item.category_id])
        return item

    return AnnotationFile(categories, images, _collect(path, content, "annotations", annotation))


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file; a data set needs one for each of its splits") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not valid JSON at {place} ({error.msg}); correct it or fetch it again") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, endless nesting
        raise DataError(f"{path}: not a JSON text file ({type(error).__name__}); fetch it again") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected COCO's object with images, annotations and categories, got a "
            f"{type(content).__name__}; give a file in that format"
        )
    return content


def _collect(
    path: Path, content: dict[str, Any], section: str, convert: Callable[[dict[str, Any]], Item]
) -> dict[int, Item]:
    entries = content.get(section)
    if not isinstance(entries, list):
        raise DataError(f"{path}: has no list {section!r}; give a file in COCO's format")
    items: dict[int, Item] = {}
    for position, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"expected an object, got {_brief(entry)}")
            item = convert(entry)
            if item.id in items:
                raise ValueError("the id is used twice")
        except ValueError as error:
            name = f" (id {entry['id']})" if isinstance(entry, dict) and type(entry.get("id")) is int else ""
            raise DataError(f"{path}: {section}[{position}]{name}: {error}; correct or remove the entry") from error
        items[item.id] = item
    return items


def _category(entry: dict[str, Any]) -> Category:
    names = entry.get("keypoints", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"keypoints must be a list of names, got {_brief(names)}")
    return Category(_integer(entry, "id"), _text(entry, "name"), tuple(names), _skeleton(entry, len(names)))


def _skeleton(entry: dict[str, Any], keypoints: int) -> tuple[tuple[int, int], ...]:
    pairs = entry.get("skeleton", [])
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 1 <= n <= keypoints for n in pair)
        for pair in pairs
    ):
        raise ValueError(f"skeleton must be a list of pairs of keypoints, 1 to {keypoints}, got {_brief(pairs)}")
    return tuple((a - 1, b - 1) for a, b in pairs)


def _image(entry: dict[str, Any]) -> ImageInfo:
    height, width = _integer(entry, "height"), _integer(entry, "width")
    if height <= 0 or width <= 0:
        raise ValueError(f"height and width must be positive, got {height} x {width}")
    return ImageInfo(_integer(entry, "id"), _text(entry, "file_name"), height, width)


def _annotation(entry: dict[str, Any]) -> Annotation:
    box = _numbers(entry.get("bbox"), "bbox")
    if len(box) != 4 or box[2] < 0 or box[3] < 0:
        raise ValueError(f"bbox must be x, y, width >= 0, height >= 0, got {_brief(entry.get('bbox'))}")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd must be 0 or 1, got {_brief(crowd)}")
    keypoints = entry.get("keypoints")
    return Annotation(
        _integer(entry, "id"),
        _integer(entry, "image_id"),
        _integer(entry, "category_id"),
        (box[0], box[1], box[2], box[3]),
        bool(crowd),
        _segmentation(entry.get("segmentation")),
        None if keypoints is None else _numbers(keypoints, "keypoints"),
    )


def _segmentation(value: Any) -> list[array[float]] | Rle | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return run_lengths(value)
    if not isinstance(value, list):
        raise ValueError(f"segmentation must be a list of polygons or a run-length object, got {_brief(value)}")
    parts = [_numbers(part, "polygon") for part in value]
    if any(len(part) % 2 for part in parts):
        raise ValueError("a polygon must have an even number of coordinates")
    return [part for part in parts if len(part) >= 6]


def run_lengths(value: dict[str, Any]) -> Rle:
    """The run lengths of a file's object, checked.

    Raises:
        ValueError: They do not describe a mask of their size.
    """
    try:
        coco_mask.runs([value])
    except ValueError as error:
        raise ValueError(f"run lengths: {str(error).removeprefix('RLE 0: ')}") from None
    if min(value["size"]) < 1:
        raise ValueError(f"run lengths: size must be positive, got {value['size']}")
    return {"size": value["size"], "counts": value["counts"]}


def _check_fit(annotation: Annotation, image: ImageInfo, category: Category) -> None:
    mask, keypoints = annotation.segmentation, annotation.keypoints
    if isinstance(mask, dict) and list(mask["size"]) != [image.height, image.width]:
        raise ValueError(f"run lengths of size {mask['size']} in an image of {image.height} x {image.width} pixels")
    if keypoints is not None and len(keypoints) != 3 * len(category.keypoints):
        raise ValueError(
            f"keypoints must hold x, y, v for each of the {len(category.keypoints)} keypoints of "
            f"category {category.name!r}, got {len(keypoints)} numbers"
        )


def _numbers(value: Any, name: str) -> array[float]:
    try:
        if not isinstance(value, list):
            raise TypeError
        numbers = array("d", value)
    except (TypeError, OverflowError):
        raise ValueError(f"{name} must be a list of numbers, got {_brief(value)}") from None
    # One infinite or undefined number makes the sum so; finite coordinates cannot overflow it.
    if not math.isfinite(sum(numbers)):
        raise ValueError(f"{name} must hold finite numbers, got {_brief(value)}")
    return numbers


def _integer(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise ValueError(f"{key} must be an integer, got {_brief(value)}")
    return value


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a text, got {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
