"""Polygons for tests, and COCO's own masks of them."""

from __future__ import annotations

import numpy as np
from oracles import pycoco

Parts = list[list[float]]


def random_parts(generator: np.random.Generator, extent: float) -> Parts:
    """One instance: one to three polygons, partly out of the image, with whole, half or free coordinates, repeated
    vertices and upright edges."""
    parts = []
    for _ in range(generator.integers(1, 4)):
        points = generator.uniform(-0.4 * extent, 1.4 * extent, (generator.integers(3, 13), 2))
        grid = generator.choice([0, 1, 2])
        if grid:
            points = np.round(points * grid) / grid
        if generator.random() < 0.3:
            points[1] = points[0]
        if generator.random() < 0.2:
            points[:3, generator.integers(2)] = points[0, 0]
        parts.append(points.ravel().tolist())
    return parts


def random_instances(count: int, extent: float, seed: int = 0) -> list[Parts]:
    generator = np.random.default_rng(seed)
    return [random_parts(generator, extent) for _ in range(count)]


def coco_masks(instances: list[Parts], height: int, width: int) -> np.ndarray:
    """bool [N, H, W]."""
    masks = [
        pycoco.decode(pycoco.merge(pycoco.frPyObjects(parts, height, width)))
        if parts
        else np.zeros((height, width), np.uint8)
        for parts in instances
    ]
    return np.stack(masks).astype(bool) if masks else np.zeros((0, height, width), bool)


def unpack(packed: np.ndarray, width: int) -> np.ndarray:
    return np.unpackbits(packed, axis=-1, bitorder="little")[..., :width].astype(bool)
