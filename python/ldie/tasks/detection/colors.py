# SPDX-License-Identifier: Apache-2.0
"""Colours of objects in pictures: a hue for each class, a shade for each instance."""

from __future__ import annotations

import colorsys
from collections import Counter
from typing import TypeAlias

from torch import Tensor

Color: TypeAlias = tuple[int, int, int]

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
GREEN: Color = (0, 200, 80)
RED: Color = (230, 30, 30)
_SHADES = ((0.85, 0.95), (0.5, 1.0), (0.95, 0.6), (0.6, 0.78), (0.35, 0.95), (0.9, 0.42))
"""Saturation and value of the instances of a class, from left to right."""


def class_color(label: int, instance: int = 0) -> Color:
    """A colour whose hue tells the class, and whose shade tells six instances of it apart.

    Neighbours in the list of classes are far apart in hue (golden ratio steps).
    """
    saturation, value = _SHADES[instance % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb((0.05 + label * 0.61803398875) % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def instance_colors(labels: Tensor, boxes: Tensor) -> list[Color]:
    """Colours of N objects, whose shades follow their order from left to right so that neighbours of a class differ.

    Args:
        labels: int64 [N].
        boxes: float32 [N,4], x1 y1 x2 y2.
    """
    colors = [BLACK] * len(labels)
    seen: Counter[int] = Counter()
    for i in (boxes[:, 0] + boxes[:, 2]).argsort(stable=True).tolist():
        label = int(labels[i])
        colors[i] = class_color(label, seen[label])
        seen[label] += 1
    return colors


def heat_colors(count: int) -> list[Color]:
    """Colours from bright yellow to dark violet, legible on most images."""
    from matplotlib import colormaps

    values = [0.95 - 0.85 * i / max(1, count - 1) for i in range(count)]
    return [(int(r), int(g), int(b)) for r, g, b, _ in colormaps["plasma"](values, bytes=True)]


def contrast(color: Color) -> Color:
    """Black or white, whichever shows better on a colour."""
    return BLACK if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else WHITE
