# SPDX-License-Identifier: Apache-2.0
"""Outlines of a mask along its pixel edges, as polygons that cover exactly the mask."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Point: TypeAlias = tuple[int, int]
Edge: TypeAlias = tuple[int, int, int, int]


def mask_to_polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Polygons of a mask [H,W]: one part per 4-connected region; exact, on integer coordinates.

    COCO polygons cannot express holes, so a mask with a hole is first cut in two at a column through the hole.
    """
    loops = _trace(mask)
    hole = next((loop for loop in loops if _signed_area(loop) < 0), None)
    if hole is None:
        return [[float(value) for point in loop for value in point] for loop in loops]
    columns = [x for x, _ in hole]
    cut = (min(columns) + max(columns)) // 2
    left, right = mask.copy(), mask.copy()
    left[:, cut:] = False
    right[:, :cut] = False
    return mask_to_polygons(left) + mask_to_polygons(right)


def _trace(mask: NDArray[np.bool_]) -> list[list[Point]]:
    """Corners of closed loops with the mask on their right: clockwise around regions, counter-clockwise in holes."""
    edges = _edges(mask)
    loops = []
    while edges:
        first = edge = next(iter(edges))
        loop: list[Point] = []
        while True:
            del edges[edge]
            x, y, dx, dy = edge
            x, y = x + dx, y + dy
            # Two edges lead on where two pixels touch at a corner: turning right stays on the same pixel.
            for turn in ((-dy, dx), (dx, dy), (dy, -dx)):
                edge = (x, y, *turn)
                if edge == first or edge in edges:
                    break
            if turn != (dx, dy):
                loop.append((x, y))
            if edge == first:
                break
        loops.append(loop)
    return loops


def _edges(mask: NDArray[np.bool_]) -> dict[Edge, None]:
    """The pixel edges x, y, dx, dy between mask and background, as an ordered set."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    sides = (
        (padded[:-2, 1:-1], (0, 0, 1, 0)),  # above
        (padded[1:-1, 2:], (1, 0, 0, 1)),  # right
        (padded[2:, 1:-1], (1, 1, -1, 0)),  # below
        (padded[1:-1, :-2], (0, 1, 0, -1)),  # left
    )
    edges: dict[Edge, None] = {}
    for neighbour, (x, y, dx, dy) in sides:
        for row, column in np.argwhere(inside & ~neighbour).tolist():
            edges[(column + x, row + y, dx, dy)] = None
    return edges


def _signed_area(loop: list[Point]) -> float:
    """Shoelace formula; positive for clockwise loops, as y points down."""
    return 0.5 * sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(loop[-1:] + loop[:-1], loop, strict=True))
