"""References of SOLO's targets and decoding: assignment to grid cells, points NMS; plain loops."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class GridObject(NamedTuple):
    """One object, in float64."""

    row: int
    label: int
    width: float
    height: float
    center: tuple[float, float]
    area: int


def cell(coordinate: float, extent: int, side: int) -> int:
    """The exact cell of a coordinate on a grid of `side` cells over `extent` pixels, clamped to the grid."""
    if math.isinf(coordinate):
        return 0 if coordinate < 0 else side - 1
    return min(max(math.floor(Fraction(coordinate) * side / extent), 0), side - 1)


def span(center: float, length: float, extent: int, side: int, sigma: float, clamp: bool) -> range:
    """The cells along one axis."""
    half = sigma / 2 * length
    first, last = cell(center - half, extent, side), cell(center + half, extent, side)
    if clamp:
        middle = cell(center, extent, side)
        first, last = max(first, middle - 1), min(last, middle + 1)
    return range(first, last + 1)


def objects_of(
    boxes: Tensor, labels: Tensor, centers: Tensor, areas: Tensor, rows: range, *, skip_empty: bool
) -> Iterator[GridObject]:
    """The objects that are assigned at all."""
    for row in rows:
        x1, y1, x2, y2 = boxes[row].double().tolist()
        x, y = centers[row].double().tolist()
        area = int(areas[row])
        if area <= 0:
            if skip_empty:
                continue
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
        finite = all(map(math.isfinite, (x1, y1, x2, y2, x, y)))
        if finite and x2 >= x1 and y2 >= y1 and labels[row] >= 0:
            yield GridObject(row, int(labels[row]), x2 - x1, y2 - y1, (x, y), area)


def solo_assign(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor,
    areas: Tensor,
    offsets: Tensor,
    size: tuple[int, int],
    grids: list[int],
    scale_ranges: list[tuple[float, float]],
    *,
    sigma: float = 0.2,
    skip_empty: bool = True,
    clamp: bool = True,
    by_area: bool = False,
    masks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Labels and instances [B, M] by painting object after object, cell after cell; masks bool [G, H, W]."""
    starts = offsets.tolist()
    results: tuple[list[Tensor], list[Tensor]] = ([], [])
    for begin, end in pairwise(starts):
        objects = list(objects_of(boxes, labels, centers, areas, range(begin, end), skip_empty=skip_empty))
        if by_area:
            objects.sort(key=lambda each: (-each.area, each.row))
        painted: tuple[list[Tensor], list[Tensor]] = ([], [])
        for side, (low, high) in zip(grids, scale_ranges, strict=True):
            level = torch.full((2, side, side), -1, dtype=torch.int64)
            for each in objects:
                if low <= math.sqrt(each.width * each.height) <= high:
                    for y, x in cells_of(each, size, side, sigma, clamp, masks):
                        level[:, y, x] = torch.tensor([each.label, each.row])
            painted[0].append(level[0].flatten())
            painted[1].append(level[1].flatten())
        results[0].append(torch.cat(painted[0]))
        results[1].append(torch.cat(painted[1]))
    count = sum(side * side for side in grids)
    labels, instances = (torch.cat([*each, torch.zeros(0, dtype=torch.int64)]).view(-1, count) for each in results)
    return labels, instances


def cells_of(
    each: GridObject, size: tuple[int, int], side: int, sigma: float, clamp: bool, masks: Tensor | None
) -> Iterator[tuple[int, int]]:
    """The cells (y, x) of one object on one grid."""
    (x, y), (height, width) = each.center, size
    for i in span(y, each.height, height, side, sigma, clamp):
        for j in span(x, each.width, width, side, sigma, clamp):
            yield i, j
    if masks is not None:
        for i in span(y, each.height, height, side, 2 * sigma, False):
            for j in span(x, each.width, width, side, 2 * sigma, False):
                if masks[each.row, i * height // side, j * width // side]:
                    yield i, j


def points_nms(scores: Tensor, kernel: int) -> Tensor:
    """Every cell of [B, C, H, W] compared with the others of its window; NaN fails each comparison."""
    result = torch.zeros_like(scores)
    batch, classes, height, width = scores.shape
    after = 1 if kernel == 3 else 0
    for plane in range(batch * classes):
        values = scores[plane // classes, plane % classes].tolist()
        for y in range(height):
            for x in range(width):
                rows = range(max(0, y - 1), min(height, y + after + 1))
                columns = range(max(0, x - 1), min(width, x + after + 1))
                if values[y][x] > -math.inf and all(values[y][x] >= values[i][j] for i in rows for j in columns):
                    result[plane // classes, plane % classes, y, x] = scores[plane // classes, plane % classes, y, x]
    return result
