# SPDX-License-Identifier: Apache-2.0
"""COCO annotation files: parsed and checked once, so that nothing malformed is met in the middle of a training.

Samples, pictures and metrics are all made from what is parsed here. Where a file says ``null``, it says nothing.
"""

from __future__ import annotations

import json
import math
import reprlib
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ldie.errors import DataError
from ldie_ext.coco import mask as coco_mask

Rle: TypeAlias = dict[str, Any]
"""COCO's run lengths: ``size`` [H, W] and ``counts``, a list or COCO's string."""
Item = TypeVar("Item", "Category", "ImageInfo", "Annotation")

FARTHEST = 10
"""No coordinate may lie farther from an image's corner than so many times its longer side. Objects that continue
outside the image are annotated as a whole, so some distance is right; what is far off is a slip, and costs time, memory
and precision."""
_MAX_SIDE = 1_000_000
_MAX_PIXELS = 2**31 - 1  # which run lengths can count
_MAX_DIGITS = 64  # of an integer; an image's id becomes part of file names


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
    area: float
    """Decides the object's size class in COCO's metrics; the box's where the file says none."""
    iscrowd: bool
    segmentation: list[array[float]] | Rle | None
    keypoints: array[float] | None
    """x, y, visibility of each keypoint of the category."""
    num_keypoints: int
    """How many are labelled; the file's word where it has one. COCO's metrics do not look for objects with none."""


@dataclass(frozen=True)
class AnnotationFile:
    """Contents of an annotation file."""

    categories: dict[int, Category]
    images: dict[int, ImageInfo]
    annotations: dict[int, Annotation]


def read_annotations(path: Path) -> AnnotationFile:
    """Reads an annotation file in COCO's format, in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        DataError: Not readable, not JSON, or what :func:`parse_annotations` refuses.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected COCO's object with images, annotations and categories, got a "
            f"{type(content).__name__}; give a file in that format"
        )
    return parse_annotations(content, path)


def parse_annotations(content: dict[str, Any], path: Path) -> AnnotationFile:
    """The content of an annotation file, checked.

    Polygon parts of fewer than three points, which COCO contains, enclose nothing and are left out.

    Args:
        content: COCO's object with images, annotations and categories.
        path: The file, for messages.

    Raises:
        DataError: An entry that is malformed, names an unknown image or category, or has a coordinate that lies farther
            from the image than :data:`FARTHEST` allows.
    """
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


def read_json(path: Path) -> Any:
    """The content of a JSON file of a data set, in UTF-8, UTF-16 or UTF-32; NaN is read, as some have it.

    Raises:
        DataError: Not readable, not JSON, or with an object that has two values for one key.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file; a data set needs one for each of its splits") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}: not valid JSON at {place} ({error.msg}); correct it or fetch it again") from error
    except _DuplicateKeyError as error:
        raise DataError(f"{path}: {error}; correct it") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8, UTF-16 or UTF-32 ({error.reason}); save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, endless nesting
        raise DataError(f"{path}: not a JSON text file ({type(error).__name__}); fetch it again") from error


class _DuplicateKeyError(ValueError):
    """An object of a JSON file has a key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; :mod:`json` alone would silently take the last of two values."""
    entry = dict(pairs)
    if len(entry) != len(pairs):
        for key, value in pairs:
            if entry[key] != value:
                raise _DuplicateKeyError(
                    f"the key {brief(key)} has the values {brief(value)} and {brief(entry[key])} in one object "
                    f"(id {brief(entry.get('id'))})"
                )
    return entry


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
                raise ValueError(f"expected an object, got {brief(entry)}")
            item = convert(entry)
            if item.id in items:
                raise ValueError("the id is used twice")
        except ValueError as error:
            name = f" (id {brief(entry['id'])})" if isinstance(entry, dict) and type(entry.get("id")) is int else ""
            raise DataError(f"{path}: {section}[{position}]{name}: {error}; correct or remove the entry") from error
        items[item.id] = item
    return items


def _category(entry: dict[str, Any]) -> Category:
    names = _given(entry, "keypoints", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"keypoints must be a list of names, got {brief(names)}")
    return Category(_integer(entry, "id"), _text(entry, "name"), tuple(names), _skeleton(entry, len(names)))


def _skeleton(entry: dict[str, Any], keypoints: int) -> tuple[tuple[int, int], ...]:
    pairs = _given(entry, "skeleton", [])
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 1 <= n <= keypoints for n in pair)
        for pair in pairs
    ):
        raise ValueError(f"skeleton must be a list of pairs of keypoints, 1 to {keypoints}, got {brief(pairs)}")
    return tuple((a - 1, b - 1) for a, b in pairs)


def _image(entry: dict[str, Any]) -> ImageInfo:
    height, width = _integer(entry, "height"), _integer(entry, "width")
    if height <= 0 or width <= 0:
        raise ValueError(f"height and width must be positive, got {height} x {width}")
    if max(height, width) > _MAX_SIDE or height * width > _MAX_PIXELS:
        raise ValueError(
            f"height and width must be at most {_MAX_SIDE}, with at most {_MAX_PIXELS} pixels, got {height} x {width}"
        )
    return ImageInfo(_integer(entry, "id"), _text(entry, "file_name"), height, width)


def _annotation(entry: dict[str, Any]) -> Annotation:
    box = _numbers(entry.get("bbox"), "bbox")
    if len(box) != 4 or box[2] < 0 or box[3] < 0:
        raise ValueError(f"bbox must be x, y, width >= 0, height >= 0, got {brief(entry.get('bbox'))}")
    crowd = _given(entry, "iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd must be 0 or 1, got {brief(crowd)}")
    keypoints = _keypoints(entry)
    return Annotation(
        _integer(entry, "id"),
        _integer(entry, "image_id"),
        _integer(entry, "category_id"),
        (box[0], box[1], box[2], box[3]),
        _area(entry, box),
        bool(crowd),
        _segmentation(entry.get("segmentation")),
        keypoints,
        _labelled(entry, keypoints),
    )


def _area(entry: dict[str, Any], box: array[float]) -> float:
    area = _given(entry, "area", box[2] * box[3])
    if not isinstance(area, (int, float)) or not 0 <= area <= sys.float_info.max:
        raise ValueError(f"area must be a finite number of at least 0, got {brief(area)}")
    return float(area)


def _keypoints(entry: dict[str, Any]) -> array[float] | None:
    """None also for an empty list, which stands beside objects without keypoints."""
    return _numbers(_given(entry, "keypoints", []), "keypoints") or None


def _labelled(entry: dict[str, Any], keypoints: array[float] | None) -> int:
    if keypoints is None:
        return 0
    count = _given(entry, "num_keypoints", sum(visibility > 0 for visibility in keypoints[2::3]))
    if type(count) is not int or count < 0:
        raise ValueError(f"num_keypoints must be an integer of at least 0, got {brief(count)}")
    return count


def _segmentation(value: Any) -> list[array[float]] | Rle | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return run_lengths(value)
    if not isinstance(value, list):
        raise ValueError(f"segmentation must be a list of polygons or a run-length object, got {brief(value)}")
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
        raise ValueError(f"run lengths: size must be positive, got {brief(value['size'])}")
    return {"size": value["size"], "counts": value["counts"]}


def _check_fit(annotation: Annotation, image: ImageInfo, category: Category) -> None:
    mask, keypoints = annotation.segmentation, annotation.keypoints
    if isinstance(mask, dict) and list(mask["size"]) != [image.height, image.width]:
        size = brief(mask["size"])
        raise ValueError(f"run lengths of size {size} in an image of {image.height} x {image.width} pixels")
    if keypoints is not None and len(keypoints) != 3 * len(category.keypoints):
        raise ValueError(
            f"keypoints must hold x, y, v for each of the {len(category.keypoints)} keypoints of "
            f"category {brief(category.name)}, got {len(keypoints)} numbers"
        )
    x, y, width, height = annotation.box
    _check_reach((x, y, x + width, y + height), "bbox", image)
    _check_reach(keypoints or (), "keypoints", image)
    for part in mask if isinstance(mask, list) else ():
        _check_reach(part, "polygon", image)


def _check_reach(numbers: Sequence[float], name: str, image: ImageInfo) -> None:
    limit = FARTHEST * max(image.height, image.width)
    if numbers and (max(numbers) > limit or min(numbers) < -limit):
        raise ValueError(
            f"{name} reaches {max(numbers, key=abs):g}, but coordinates in an image of {image.height} x {image.width} "
            f"pixels must lie within -{limit} to {limit} ({FARTHEST} times its longer side)"
        )


def _given(entry: dict[str, Any], key: str, default: Any) -> Any:
    """The value of a key that may be missing, or null, which says as much."""
    value = entry.get(key)
    return default if value is None else value


def _numbers(value: Any, name: str) -> array[float]:
    try:
        if not isinstance(value, list):
            raise TypeError
        numbers = array("d", value)
    except (TypeError, OverflowError):
        raise ValueError(f"{name} must be a list of numbers, got {brief(value)}") from None
    # One infinite or undefined number makes the sum so; those whose sum overflows lie outside of any image.
    if not math.isfinite(sum(numbers)):
        raise ValueError(f"{name} must hold finite numbers, got {brief(value)}")
    return numbers


def _integer(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise ValueError(f"{key} must be an integer, got {brief(value)}")
    if abs(value) >= 10**_MAX_DIGITS:
        raise ValueError(f"{key} must be an integer of at most {_MAX_DIGITS} digits, got {brief(value)}")
    return value


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a text, got {brief(value)}")
    return value


def brief(value: Any) -> str:
    """A value of any size and depth, for a message."""
    text = "nothing" if value is None else _SHORT.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
