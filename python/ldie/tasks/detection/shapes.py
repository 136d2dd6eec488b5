# SPDX-License-Identifier: Apache-2.0
"""The generated data set "shapes": circles, squares and triangles that hide each other, in COCO's folder layout.

An image of a given seed, split and number is the same whatever else is generated, byte for byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ldie.errors import DataError
from ldie.files import first_line, scratch_folder
from ldie.tasks.detection.contours import mask_to_polygons
from ldie.tasks.detection.masks import clip_polygon
from ldie_ext import rle_encode

Colour: TypeAlias = NDArray[np.float64]
"""RGB, 0 to 255."""
Corners: TypeAlias = NDArray[np.float64]
"""x, y in the last axis, continuous pixels."""

CLASSES = ("circle", "square", "triangle")
CORNERS = {"circle": 24, "square": 4, "triangle": 3}
KEYPOINTS = ("top", "right", "bottom", "left")
"""Corners of a square; a triangle has no bottom, its other two corners are the right and the left one."""
FORMAT = 2
"""Goes up whenever the generator draws or annotates otherwise, so that old folders are not taken for new ones."""

MIN_VISIBLE = 20
"""Fewer visible pixels than this, and an object is drawn but not annotated."""
MIN_CONTRAST = 120.0
"""Distance of an object's colour to the background's, in RGB space."""
NOISE = 8.0
"""Standard deviation of the noise on each channel."""
EMPTY = 0.04
"""Part of the images without objects."""
INSET = 1.5
"""Pixels from a corner to its keypoint, which so lies on the object, and inside the box of the object's pixels."""


@dataclass
class _Shape:
    """One thing to draw; a crowd is drawn as many polygons and annotated as one region."""

    kind: str
    polygons: list[Corners]
    colour: Colour
    iscrowd: bool = False
    min_visible: int = MIN_VISIBLE


def build_shapes(
    root: str | Path, *, hard: bool = False, seed: int = 0, train: int = 500, val: int = 100, size: int = 128
) -> Path:
    """Generates the data set, unless the folder already holds the very same one.

    1 to 4 objects of 3 classes per image, on a plain background with noise; masks are what is visible, as polygons
    with several parts where an object in front splits one; corners are keypoints; some images are empty. ``hard`` adds
    crowds (run lengths), objects across the image border, objects smaller than a cell of a stride-8 map, and pairs of
    one class with one centre.

    Args:
        root: Folder to write; it appears complete or not at all.
        hard: With the extra difficulties.
        seed: Of everything random; training and validation images come from separate streams.
        train: Images in ``train2017``.
        val: Images in ``val2017``.
        size: Height and width of the images, at least 64.

    Returns:
        The folder.

    Raises:
        ValueError: A parameter out of range.
        DataError: The folder holds something else, or cannot be written to.

    Example:
        >>> import tempfile
        >>> root = build_shapes(tempfile.mkdtemp(), train=2, val=1)
        >>> sorted(path.name for path in root.iterdir())
        ['annotations', 'shapes.json', 'train2017', 'val2017']
    """
    if size < 64 or train < 1 or val < 1 or seed < 0:
        raise ValueError(f"need size >= 64, train >= 1, val >= 1, seed >= 0; got {size}, {train}, {val}, {seed}")
    root = Path(root)
    parameters = {"format": FORMAT, "hard": hard, "seed": seed, "train": train, "val": val, "size": size}
    if _parameters_of(root) == parameters:
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(root) as scratch:
            staged = scratch / "new"
            for stream, (split, count) in enumerate({"train2017": train, "val2017": val}.items()):
                streams = [np.random.default_rng([seed, stream, i]) for i in range(count)]
                _write_split(staged, split, streams, hard, size)
            (staged / "shapes.json").write_text(json.dumps(parameters), encoding="utf-8")
            _put_in_place(staged, root, parameters, aside=scratch / "old")
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{root}: cannot be generated ({reason}); free space or choose another folder") from error
    return root


def _parameters_of(root: Path) -> Any:
    """Parameters a folder was generated with; None for no folder or an empty one."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        found = json.loads((root / "shapes.json").read_bytes())
        if not isinstance(found, dict) or "format" not in found:
            raise ValueError("not ours")
        return found
    except (OSError, ValueError, RecursionError):
        raise DataError(f"{root}: exists and is no generated shapes data set; remove it or choose another") from None


def _put_in_place(staged: Path, root: Path, parameters: dict[str, Any], aside: Path) -> None:
    # Another process (a rank of the same run) may have built the same data meanwhile: then its copy stays.
    if _parameters_of(root) not in (None, parameters):
        root.rename(aside)
    try:
        staged.rename(root)
    except OSError:
        if _parameters_of(root) != parameters:
            raise


def _write_split(root: Path, split: str, streams: list[Generator], hard: bool, size: int) -> None:
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, rng in enumerate(streams, start=1):
        background, shapes = _scene(rng, hard, size)
        pixels, visible = _draw(rng, background, shapes, size)
        name = f"{image_id:06d}.png"
        Image.fromarray(pixels).save(root / split / name, compress_level=1)
        images.append({"id": image_id, "file_name": name, "height": size, "width": size})
        for shape, mask in zip(shapes, visible, strict=True):
            if mask.sum() >= shape.min_visible:
                annotation = {"id": len(annotations) + 1, "image_id": image_id, **_annotate(shape, mask)}
                annotations.append(annotation | _keypoints(shape, mask, annotation["bbox"]))
    names = {"keypoints": KEYPOINTS, "skeleton": [[1, 2], [2, 3], [3, 4], [4, 1]]}
    categories = [{"id": i, "name": name, **names} for i, name in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def _scene(rng: Generator, hard: bool, size: int) -> tuple[Colour, list[_Shape]]:
    """Background colour and shapes, back to front."""
    background = rng.uniform(0, 255, 3)
    shapes: list[_Shape] = []
    if rng.random() < EMPTY:
        return background, shapes
    if hard and rng.random() < 0.05:
        shapes.append(_crowd(rng, background, size))
    for _ in range(rng.integers(1, 5)):
        shapes.extend((_difficult if hard and rng.random() < 0.4 else _ordinary)(rng, background, size))
    return background, shapes


def _ordinary(rng: Generator, background: Colour, size: int) -> Iterator[_Shape]:
    """One object of ordinary size, all inside the image."""
    radius = rng.uniform(0.08, 0.22) * size
    yield _object(rng, radius, rng.uniform(radius, size - radius, 2), _colour(rng, background))


def _difficult(rng: Generator, background: Colour, size: int) -> Iterator[_Shape]:
    """An object across the border, a tiny one, or two of one class around one centre."""
    radius = rng.uniform(0.08, 0.22) * size
    centre = rng.uniform(radius, size - radius, 2)
    colour = _colour(rng, background)
    case = rng.integers(3)
    if case == 0:
        centre[rng.integers(2)] = rng.choice([0, size]) + rng.uniform(-0.5, 0.5) * radius
        yield _object(rng, radius, centre, colour)
    elif case == 1:
        yield _object(rng, rng.uniform(2.0, 4.0), centre, colour, min_visible=4)
    else:
        outer = _object(rng, radius, centre, colour)
        corners = outer.polygons[0]
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2  # of the box, not of the triangle
        yield outer
        yield _Shape(outer.kind, [middle + 0.5 * (corners - middle)], _colour(rng, background, colour))


def _object(rng: Generator, radius: float, centre: Corners, colour: Colour, min_visible: int = MIN_VISIBLE) -> _Shape:
    kind = str(rng.choice(CLASSES))
    return _Shape(kind, [_regular(kind, radius, centre, rng.uniform(0, 2 * math.pi))], colour, min_visible=min_visible)


def _crowd(rng: Generator, background: Colour, size: int) -> _Shape:
    """A grid of small circles, annotated as one region."""
    rows, columns = rng.integers(3, 6, 2)
    corner = rng.uniform(4, size - 4 - 7 * np.array([columns, rows]))
    centres = [corner + 7 * np.array([column, row]) + 3 for row in range(rows) for column in range(columns)]
    polygons = [_regular("circle", rng.uniform(2, 3), centre, 0.0) for centre in centres]
    return _Shape("circle", polygons, _colour(rng, background), iscrowd=True)


def _colour(rng: Generator, *others: Colour) -> Colour:
    while True:
        colour = rng.uniform(0, 255, 3)
        if all(math.dist(colour, other) >= MIN_CONTRAST for other in others):
            return colour


def _regular(kind: str, radius: float, centre: Corners, angle: float) -> Corners:
    """Corners [V,2] of a regular polygon, clockwise on the screen from the topmost one."""
    angles = angle + 2 * math.pi * np.arange(CORNERS[kind]) / CORNERS[kind]
    corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.roll(corners, -int(corners[:, 1].argmin()), axis=0)


def _draw(
    rng: Generator, background: Colour, shapes: list[_Shape], size: int
) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """The noisy picture uint8 [H,W,3] and what is visible of each shape."""
    owner = np.zeros((size, size), dtype=np.intp)
    for number, shape in enumerate(shapes, start=1):
        for corners in shape.polygons:
            _fill(owner, corners, number)
    pixels = np.stack([background, *(shape.colour for shape in shapes)])[owner]
    pixels += NOISE * rng.standard_normal(pixels.shape)
    return pixels.clip(0, 255).round().astype(np.uint8), [owner == n for n in range(1, len(shapes) + 1)]


def _fill(canvas: NDArray[np.intp], corners: Corners, value: int) -> None:
    """Sets the pixels whose centre a convex polygon, clockwise on the screen, contains."""
    low = np.floor(corners.min(axis=0)).astype(int).clip(0, None)
    window = canvas[low[1] : math.ceil(corners[:, 1].max()), low[0] : math.ceil(corners[:, 0].max())]
    x = low[0] + 0.5 + np.arange(window.shape[1])
    y = low[1] + 0.5 + np.arange(window.shape[0])[:, None]
    inside = np.ones(window.shape, dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (x1 - x0) * (y - y0) >= (y1 - y0) * (x - x0)
    window[inside] = value


def _annotate(shape: _Shape, visible: NDArray[np.bool_]) -> dict[str, Any]:
    """Category, box, area and mask of what is visible of a shape."""
    size = (visible.shape[0], visible.shape[1])
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    segmentation: Any
    if shape.iscrowd:
        runs = rle_encode(torch.from_numpy(visible)[None])
        segmentation = {"size": list(size), "counts": runs.counts.tolist()}
    elif _is_whole(shape, visible):
        segmentation = [clip_polygon(shape.polygons[0].ravel().round(2).tolist(), size)]
    else:
        segmentation = mask_to_polygons(visible)
    return {
        "category_id": CLASSES.index(shape.kind) + 1,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(visible.sum()),
        "iscrowd": int(shape.iscrowd),
        "segmentation": segmentation,
    }


def _is_whole(shape: _Shape, visible: NDArray[np.bool_]) -> bool:
    """Whether nothing in front hides a part of the shape."""
    canvas = np.zeros(visible.shape, dtype=np.intp)
    _fill(canvas, shape.polygons[0], 1)
    return bool((visible == (canvas == 1)).all())


def _keypoints(shape: _Shape, visible: NDArray[np.bool_], box: list[int]) -> dict[str, Any]:
    """Corners of squares and triangles, each :data:`INSET` inwards: 2 visible, 1 hidden, 0 outside the box.

    A keypoint outside its object's box is one that heads which look for it in the box cannot find.
    """
    points = np.zeros((len(KEYPOINTS), 3))
    if shape.kind != "circle":
        corners = shape.polygons[0]
        rows = [0, 1, 3] if shape.kind == "triangle" else [0, 1, 2, 3]
        low, high = np.array(box[:2]), np.add(box[:2], box[2:])
        centre = corners.mean(axis=0)
        for row, corner in zip(rows, corners, strict=True):
            point = corner + INSET * (centre - corner) / math.dist(centre, corner)
            if ((point >= low) & (point < high)).all():
                column, line = point.astype(int)
                points[row] = (*(point - 0.5).round(2), 2 if visible[line, column] else 1)
    return {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
