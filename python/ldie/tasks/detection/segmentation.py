# SPDX-License-Identifier: Apache-2.0
"""Object masks in COCO's two forms, polygons and run lengths, and the geometry that transforms need on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Polygons: TypeAlias = list[list[float]]
"""Parts of one object, each x0, y0, x1, y1, ... in continuous pixels; the object is the union of its parts."""
Rle: TypeAlias = dict[str, Any]
"""``size`` [H, W] and ``counts``: column-major run lengths, background first, as a list or as COCO's string."""
Segmentation: TypeAlias = Polygons | Rle


def rle_counts(rle: Rle) -> list[int]:
    """Run lengths of a run-length dict, decompressed when they are a string.

    Raises:
        ValueError: Keys, types or lengths that do not describe a mask of ``size``.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, (list, tuple)) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise ValueError(f"run lengths need a size [height, width], got {size!r}")
    if isinstance(counts, (str, bytes)):
        counts = _decompress(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("run lengths must be a list of non-negative integers or COCO's string of them")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths add up to {sum(counts)}, but the mask has {size[0]} x {size[1]} pixels")
    return counts


def decode(segmentation: Segmentation, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask bool [H,W] of a segmentation in an image of ``size`` (H, W)."""
    if isinstance(segmentation, dict):
        counts = rle_counts(segmentation)
        runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return runs.reshape(size[1], size[0]).T
    if not segmentation:
        return np.zeros(size, dtype=np.bool_)
    from pycocotools import mask as coco_mask  # only polygons need it

    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))).astype(np.bool_)


def encode(mask: NDArray[np.bool_]) -> Rle:
    """Run lengths of a mask [H,W], as a list (COCO's form of crowds)."""
    pixels = mask.T.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(np.concatenate(([0], changes, [pixels.size]))).tolist()
    if pixels.size and pixels[0]:
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": counts}


def clip_polygon(polygon: Sequence[float], size: tuple[int, int]) -> list[float]:
    """The part of a polygon inside an image of ``size`` (H, W); empty when nothing is left.

    Sutherland-Hodgman: where a concave polygon falls apart, its pieces stay joined along the border, with no area.
    """
    points = [(polygon[i], polygon[i + 1]) for i in range(0, len(polygon), 2)]
    for axis, limit in ((0, float(size[1])), (1, float(size[0]))):
        points = _clip_half_plane(points, axis, 0.0, 1.0)
        points = _clip_half_plane(points, axis, limit, -1.0)
    return [value for point in points for value in point] if len(points) >= 3 else []


def _clip_half_plane(
    points: list[tuple[float, float]], axis: int, limit: float, sign: float
) -> list[tuple[float, float]]:
    """Keeps what has ``sign * (point[axis] - limit) >= 0``."""
    kept: list[tuple[float, float]] = []
    for i, end in enumerate(points):
        start = points[i - 1]
        a, b = sign * (start[axis] - limit), sign * (end[axis] - limit)
        if (a >= 0) != (b >= 0):
            t = a / (a - b)
            crossing = [start[k] + t * (end[k] - start[k]) for k in (0, 1)]
            crossing[axis] = limit
            kept.append((crossing[0], crossing[1]))
        if b >= 0:
            kept.append(end)
    return kept


def _decompress(text: bytes) -> list[int]:
    """Run lengths of COCO's string.

    Each number is a run of characters, 48 plus 5 bits, lowest first, bit 5 set where more follow; the last one's bit 4
    is the sign. From the fourth on, a number is the difference to the run two before.
    """
    counts: list[int] = []
    value = shift = 0
    for byte in text:
        code = byte - 48
        if not 0 <= code < 64:
            raise ValueError(f"character {chr(byte)!r} cannot stand in a run-length string")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run-length string ends inside a number")
    return counts
