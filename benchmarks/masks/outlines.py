"""Outlines like those of COCO: 100 instances on an image of 800x1333."""

from __future__ import annotations

import numpy as np

SIZE = (800, 1333)


def outlines(count: int = 100) -> list[list[list[float]]]:
    """Star-shaped polygons of 10 to 60 vertices and 20 to 200 pixels radius."""
    generator = np.random.default_rng(0)
    instances = []
    for _ in range(count):
        vertices = generator.integers(10, 60)
        angle = np.sort(generator.uniform(0, 2 * np.pi, vertices))
        radius = generator.uniform(20, 200) * generator.uniform(0.6, 1, vertices)
        x = generator.uniform(100, 1233) + radius * np.cos(angle)
        y = generator.uniform(100, 700) + radius * np.sin(angle)
        instances.append([np.stack([x, y], 1).ravel().tolist()])
    return instances
