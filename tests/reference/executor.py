"""References of an executor's steps: NumPy in float64, one image [3, H, W] and one pixel at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bilinear(x: Array, row: float, column: float, *, outside_is_black: bool) -> Array:
    """Between the centres of pixels, which have whole coordinates."""
    height, width = x.shape[1:]
    if not outside_is_black:
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    top, left = int(np.floor(row)), int(np.floor(column))
    total = np.zeros(len(x))
    for i, weight_y in ((top, 1 - (row - top)), (top + 1, row - top)):
        for j, weight_x in ((left, 1 - (column - left)), (left + 1, column - left)):
            if 0 <= i < height and 0 <= j < width:
                total += weight_y * weight_x * x[:, i, j]
    return total


def by_pixel(x: Array, value: Callable[[int, int], Array]) -> Array:
    height, width = x.shape[1:]
    return np.stack([np.stack([value(i, j) for j in range(width)], -1) for i in range(height)], 1)


def turned(x: Array, angle: float, middle: tuple[float, float]) -> Array:
    """Counter-clockwise about (row, column); rows grow downwards."""

    def value(i: int, j: int) -> Array:
        dy, dx = i - middle[0], j - middle[1]
        column = middle[1] + dx * np.cos(angle) - dy * np.sin(angle)
        row = middle[0] + dx * np.sin(angle) + dy * np.cos(angle)
        return bilinear(x, row, column, outside_is_black=True)

    return by_pixel(x, value)


def rotate(x: Array, p: Array) -> Array:
    return turned(x, p[0], ((x.shape[1] - 1) / 2, (x.shape[2] - 1) / 2))


def flip(x: Array, p: Array) -> Array:
    return x[:, :, ::-1] if p[0] == 0 else x[:, ::-1]


def crop(x: Array, p: Array) -> Array:
    height, width = x.shape[1:]

    def value(i: int, j: int) -> Array:
        column = (p[0] + (p[2] - p[0]) * (j + 0.5) / width) * width - 0.5
        row = (p[1] + (p[3] - p[1]) * (i + 0.5) / height) * height - 0.5
        return bilinear(x, row, column, outside_is_black=False)

    return by_pixel(x, value)


def radial_blur(x: Array, p: Array) -> Array:
    middle = np.array([(x.shape[1] - 1) / 2, (x.shape[2] - 1) / 2])

    def value(i: int, j: int) -> Array:
        here = np.array([i, j], float)
        places = [here + (middle - here) * p[0] * k / 15 for k in range(16)]
        return np.mean([bilinear(x, *place, outside_is_black=False) for place in places], axis=0)

    return by_pixel(x, value)


def facet_blur(x: Array, p: Array) -> Array:
    radius = int(p[0])
    wide = np.pad(x, ((0, 0), (radius, radius), (radius, radius)), "edge")

    def value(i: int, j: int) -> Array:
        parts = [
            wide[:, i + a : i + a + radius + 1, j + b : j + b + radius + 1] for a in (0, radius) for b in (0, radius)
        ]
        return min(parts, key=lambda part: part.var((1, 2)).sum()).mean((1, 2))

    return by_pixel(x, value)


def denoise(x: Array, p: Array) -> Array:
    height, width = x.shape[1:]

    def value(i: int, j: int) -> Array:
        total, weights = np.zeros(3), 0.0
        for a in range(max(i - 4, 0), min(i + 5, height)):
            for b in range(max(j - 4, 0), min(j + 5, width)):
                space = ((a - i) ** 2 + (b - j) ** 2) / (2 * 2.0**2)
                colour = ((x[:, a, b] - x[:, i, j]) ** 2).sum() / (2 * max(p[0], 1e-4) ** 2)
                weight = np.exp(-space - colour)
                total, weights = total + weight * x[:, a, b], weights + weight
        return total / weights

    return by_pixel(x, value)


def patch_minimum(dark: Array) -> Array:
    return np.array(
        [
            [dark[max(i - 7, 0) : i + 8, max(j - 7, 0) : j + 8].min() for j in range(dark.shape[1])]
            for i in range(dark.shape[0])
        ]
    )


def dehaze(x: Array, p: Array) -> Array:
    dark = patch_minimum(x.min(0))
    bound = np.sort(dark.ravel())[-max(dark.size // 1000, 1)]
    haze = x[:, dark >= bound].mean(1)[:, None, None]
    transmission = 1 - 0.95 * p[0] * patch_minimum((x / np.maximum(haze, 1e-3)).min(0))
    return (x - haze) / np.maximum(transmission, 0.1) + haze


def box(mask: Array) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is above 0, all inside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], rows[-1], columns[0], columns[-1]


def rotate_object(x: Array, mask: Array, background: Array, p: Array) -> Array:
    top, bottom, left, right = box(mask)
    layers = turned(np.concatenate([mask * x, mask[None]]), p[0], ((top + bottom) / 2, (left + right) / 2))
    return layers[:3] + (1 - layers[3]) * background


def flip_object(x: Array, mask: Array, background: Array, p: Array) -> Array:
    top, bottom, left, right = box(mask)
    layers = np.concatenate([mask * x, mask[None]])
    part = layers[:, top : bottom + 1, left : right + 1]
    layers[:, top : bottom + 1, left : right + 1] = part[:, :, ::-1] if p[0] == 0 else part[:, ::-1]
    return layers[:3] + (1 - layers[3]) * background


STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "ROTATE": rotate,
    "FLIP": flip,
    "CROP": crop,
    "RADIAL_BLUR": radial_blur,
    "FACET_BLUR": facet_blur,
    "DENOISE": denoise,
    "DEHAZE": dehaze,
}
OBJECT_STEPS: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "ROTATE_OBJ": rotate_object,
    "FLIP_OBJ": flip_object,
    "INPAINT_OBJ": lambda x, mask, background, p: background,
}


def blended(x: Array, edited: Array, mask: Array | None) -> Array:
    return np.clip(edited if mask is None else mask * edited + (1 - mask) * x, 0, 1)
