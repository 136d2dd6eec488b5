"""Random polygons as COCO's files hold them, and worse: integer, fractional, outside, with vertices that repeat."""

from __future__ import annotations

import numpy as np


def random_polygon(generator: np.random.Generator, height: int, width: int) -> list[float]:
    """x0, y0, x1, y1, ... of 3 to 12 vertices (never 2: pycocotools takes four numbers for a box)."""
    points = int(generator.integers(3, 13))
    spread = generator.choice([0.5, 1.0, 2.0])
    xy = (generator.random((points, 2)) - 0.5) * spread * [width, height] + [width / 2, height / 2]
    kind = generator.integers(3)
    if kind == 0:
        xy = np.round(xy)
    elif kind == 1:
        xy = np.round(xy * 2) / 2
    if generator.random() < 0.3:
        xy = np.repeat(xy, 2, axis=0)
    flat: list[float] = xy.reshape(-1).tolist()
    return flat


def random_segmentation(generator: np.random.Generator, height: int, width: int) -> list[list[float]]:
    """One to three polygons of one instance."""
    return [random_polygon(generator, height, width) for _ in range(int(generator.integers(1, 4)))]
