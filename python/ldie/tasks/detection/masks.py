# SPDX-License-Identifier: Apache-2.0
"""The masks of a sample's objects, ``ldie_ext.Polygons`` or ``ldie_ext.RLE``, and the geometry transforms need on them.

All objects of a sample have one form: polygons, or run lengths where one of them (a crowd) is given as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ldie.tasks.detection.windows import crop_pixels
from ldie_ext import RLE, Polygons, polygons_to_masks, polygons_to_rle, rle_decode, rle_encode
from ldie_ext.coco import mask as coco_mask

Masks: TypeAlias = Polygons | RLE
"""Of N objects; polygons in continuous pixels."""
Size: TypeAlias = tuple[int, int]
"""(H, W) in pixels."""


def from_coco(segmentations: Sequence[Any], size: Size) -> Masks:
    """The masks of an image of ``size`` from COCO's annotations: parts of polygons, or run-length dicts."""
    if any(isinstance(segmentation, Mapping) for segmentation in segmentations):
        return RLE.from_coco(coco_mask.rasterize(segmentations, *size))
    return Polygons.from_coco(segmentations)


def to_rle(masks: Masks, size: Size) -> RLE:
    """Run lengths in an image of ``size``."""
    return masks if isinstance(masks, RLE) else polygons_to_rle(masks, size)


def to_coco(masks: Masks, size: Size) -> list[dict[str, Any]]:
    """COCO's compressed run lengths in an image of ``size``, counts as text for JSON."""
    return [{**rle, "counts": rle["counts"].decode("ascii")} for rle in to_rle(masks, size).to_coco()]  # type: ignore[union-attr]


def to_bitmaps(masks: Masks, size: Size) -> Tensor:
    """Bool [N,H,W] in an image of ``size``."""
    if isinstance(masks, RLE):
        return rle_decode(masks, size=size)
    return polygons_to_masks(masks, size)


def select(masks: Masks, rows: Tensor) -> Masks:
    """The masks of some objects, by int64 row numbers."""
    if isinstance(masks, RLE):
        runs, offsets = _groups(masks.offsets, rows)
        return RLE(masks.counts[runs], offsets, masks.sizes[rows])
    parts, instance_offsets = _groups(masks.instance_offsets, rows)
    points, part_offsets = _groups(masks.part_offsets, parts)
    return Polygons(masks.coords[points], part_offsets, instance_offsets)


def resize(masks: Masks, old: Size, new: Size) -> Masks:
    """Scaled from an image of size ``old`` to one of size ``new``; a pixel shows what its centre showed."""
    if isinstance(masks, Polygons):
        scale = torch.tensor([new[1] / old[1], new[0] / old[0]], dtype=torch.float64)
        return _with_coords(masks, masks.coords * scale)
    rows, columns = (((torch.arange(n) + 0.5) * m / n).long() for n, m in zip(new, old))
    return _redrawn(masks, old, lambda pixels: pixels[:, rows[:, None], columns])


def crop(masks: Masks, top: int, left: int, old: Size, new: Size) -> Masks:
    """In the window of size ``new`` at ``top``, ``left`` of an image of size ``old``; polygons are not yet clipped."""
    if isinstance(masks, Polygons):
        return _with_coords(masks, masks.coords - torch.tensor([left, top], dtype=torch.float64))
    return _redrawn(masks, old, lambda pixels: crop_pixels(pixels, top, left, new))


def mirror(masks: Masks, size: Size) -> Masks:
    """Left and right exchanged in an image of ``size``."""
    if isinstance(masks, Polygons):
        x, y = masks.coords.unbind(dim=1)
        return _with_coords(masks, torch.stack([size[1] - x, y], dim=1))
    return _redrawn(masks, size, lambda pixels: pixels.flip(2))


def clip(masks: Masks, size: Size) -> Masks:
    """Cut at the border of an image of ``size``; parts of polygons that lie outside go."""
    if isinstance(masks, RLE):
        return masks
    limit = torch.tensor([size[1], size[0]], dtype=torch.float64)
    if bool(((masks.coords >= 0) & (masks.coords <= limit)).all()):
        return masks
    points, parts = masks.coords.flatten().tolist(), masks.part_offsets.tolist()
    instances = masks.instance_offsets.tolist()
    clipped = [clip_polygon(points[2 * a : 2 * b], size) for a, b in pairwise(parts)]
    return Polygons.from_coco([[part for part in clipped[a:b] if part] for a, b in pairwise(instances)])


def clip_polygon(polygon: Sequence[float], size: Size) -> list[float]:
    """The part of a polygon x0, y0, x1, y1, ... inside an image of ``size``; empty when nothing is left.

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


def _groups(offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The elements of some groups of a flat tensor, group g owning offsets[g]..offsets[g + 1]; and their offsets."""
    starts, lengths = offsets[rows], offsets.diff()[rows]
    ends = lengths.cumsum(0)
    elements = torch.arange(int(lengths.sum())) + (starts - (ends - lengths)).repeat_interleave(lengths)
    return elements, torch.cat([ends.new_zeros(1), ends])


def _with_coords(polygons: Polygons, coords: Tensor) -> Polygons:
    return Polygons(coords, polygons.part_offsets, polygons.instance_offsets)


def _redrawn(masks: RLE, size: Size, change: Callable[[Tensor], Tensor]) -> RLE:
    """Run lengths of pixels bool [N,H,W] that were changed."""
    return rle_encode(change(rle_decode(masks, size=size)).contiguous()) if len(masks) else masks
