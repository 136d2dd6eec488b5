# SPDX-License-Identifier: Apache-2.0
"""YOLO's label files: a line for each object, coordinates as parts of the image's width and height."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ldie.errors import DataError
from ldie.tasks.detection.annotations import brief
from ldie.tasks.detection.formats.source import finite_number, read_lines
from ldie_ext.coco import mask as coco_mask

_OUTSIDE = 0.01
"""How far outside the image a coordinate may be, as Ultralytics has it: what rounding does to objects at the border."""
_DIGITS = 3
"""After the point of what is written, in pixels."""


class Points(NamedTuple):
    """The keypoints of each object."""

    names: tuple[str, ...]
    numbers: int
    """2: x, y; 3: x, y, visibility."""


def read_labels(path: Path, names: Sequence[str], points: Points | None, size: tuple[int, int]) -> list[dict[str, Any]]:
    """COCO's annotations of an image of ``size``; a line that is there twice counts once.

    A line is ``class x y width height`` (of the box, x and y its centre), with the keypoints behind if there are any;
    or ``class x y x y x y ...``, an outline.

    Raises:
        DataError: A line is malformed.
    """
    objects: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if line and line not in objects:
            try:
                objects[line] = _object(line.split(), names, points, size)
            except ValueError as error:
                raise DataError(f"{path}: line {number}: {error}; correct or remove the line") from error
    return list(objects.values())


def _object(words: list[str], names: Sequence[str], points: Points | None, size: tuple[int, int]) -> dict[str, Any]:
    category, values = _category(words[0], names), [_number(word) for word in words[1:]]
    expected = 4 if points is None else 4 + len(points.names) * points.numbers
    outline = points is None and len(values) >= 6 and len(values) % 2 == 0
    if len(values) != expected and not outline:
        form = "4 numbers of a box, or x and y of at least 3 corners" if points is None else f"{expected} numbers"
        raise ValueError(f"expected a class and {form}, got {len(values)} numbers after {brief(words[0])}")
    if outline:
        return {"category_id": category, **_outlined(values, size)}
    item = {"category_id": category, **_boxed(values[:4], size)}
    return item if points is None else item | _keypoints(values[4:], points, size)


def _category(word: str, names: Sequence[str]) -> int:
    value = _number(word)
    if not value.is_integer() or not 0 <= value < len(names):
        raise ValueError(f"class must be a whole number from 0 to {len(names) - 1}, got {brief(word)}")
    return int(value)


def _number(word: str) -> float:
    value = finite_number(word)
    if value is None:
        raise ValueError(f"expected finite numbers, got {brief(word)}")
    return value


def _boxed(values: list[float], size: tuple[int, int]) -> dict[str, Any]:
    _check_inside(values)
    x, y, width, height = values
    if width < 0 or height < 0:
        raise ValueError(f"width and height must be at least 0, got {width:g} and {height:g}")
    lengths = size[1], size[0], size[1], size[0]
    box = [round(v * n, _DIGITS) for v, n in zip((x - width / 2, y - height / 2, width, height), lengths)]
    return {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}


def _outlined(values: list[float], size: tuple[int, int]) -> dict[str, Any]:
    _check_inside(values)
    xs, ys = [v * size[1] for v in values[::2]], [v * size[0] for v in values[1::2]]
    corners = [round(v, _DIGITS) for corner in zip(xs, ys) for v in corner]
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    return {
        "bbox": [round(v, _DIGITS) for v in box],
        "area": int(coco_mask.area(coco_mask.rasterize([[corners]], *size))[0]),
        "iscrowd": 0,
        "segmentation": [corners],
    }


def _keypoints(values: list[float], points: Points, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's keypoints: like COCO's, YOLO's are pixel indices, with nothing added for the middle of a pixel."""
    found: list[float] = []
    for i in range(0, len(values), points.numbers):
        x, y, *visibility = values[i : i + points.numbers]
        seen = visibility[0] if visibility else 2 * float(x >= 0 and y >= 0 and (x > 0 or y > 0))
        if seen not in (0, 1, 2):
            raise ValueError(f"visibility must be 0, 1 or 2, got {seen:g}")
        if seen:
            _check_inside([x, y])
        found += [round(x * size[1], _DIGITS), round(y * size[0], _DIGITS), int(seen)] if seen else [0, 0, 0]
    return {"keypoints": found, "num_keypoints": sum(v > 0 for v in found[2::3])}


def _check_inside(values: list[float]) -> None:
    far = max(values, key=lambda value: abs(value - 0.5))
    if not -_OUTSIDE <= far <= 1 + _OUTSIDE:
        raise ValueError(f"coordinates are parts of the image's width and height, 0 to 1, got {far:g}")
