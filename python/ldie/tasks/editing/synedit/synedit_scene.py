# SPDX-License-Identifier: Apache-2.0
"""The pictures of SynEdit: textured discs and rectangles before a gradient with noise of four octaves.

Nothing is flat: over flat areas a curve of 24 parameters can follow the rounding to 8 bits, and a wrong sequence of
edits comes nearer to the target than the true one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ldie.errors import ConfigError
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import Scene, SceneObject, box_of, position_of

Array = NDArray[np.float64]
Bits = NDArray[np.bool_]
Places = NDArray[np.int64]

LEAST_SIZE, MOST_SIZE = 32, 1024
SHAPES = ("disc", "rectangle")
COLOURS = {
    "red": (0.82, 0.16, 0.12),
    "orange": (0.86, 0.50, 0.14),
    "yellow": (0.84, 0.78, 0.20),
    "green": (0.20, 0.66, 0.26),
    "cyan": (0.22, 0.74, 0.80),
    "blue": (0.16, 0.30, 0.82),
    "purple": (0.54, 0.22, 0.74),
    "pink": (0.84, 0.52, 0.64),
    "white": (0.78, 0.78, 0.78),
}
RADII = {"small": (0.06, 0.08), "medium": (0.10, 0.13), "large": (0.16, 0.20)}
"""Half an object's extent, as a part of the picture's side."""
OCTAVES = ((4, 0.12), (8, 0.09), (16, 0.07), (32, 0.05))
"""Blocks along a side, and the most by which they are brighter or darker."""
GRAIN = 0.025
"""The most by which a pixel's channel is off."""
FEWEST, MOST = 3, 7
LEAST_VISIBLE = 0.6
"""The part of an object that those in front of it leave."""
_TRIES = 200
"""Places to try; three objects have always found one after far fewer."""


def synedit_scene(draws: Draws, size: int = 128) -> Scene:
    """A picture of SynEdit.

    Args:
        draws: Decides everything.
        size: Height and width, 32 to 1024.

    Returns:
        A scene of 3 to 7 objects, no two of the same shape and colour, each with at least 60 % of it visible.

    Raises:
        ConfigError: A size out of range.
    """
    if not LEAST_SIZE <= size <= MOST_SIZE:
        raise ConfigError(f"size must be {LEAST_SIZE} to {MOST_SIZE}, got {size}")
    canvas = _background(draws, size)
    owner = np.zeros((size, size), dtype=np.int64)
    kinds = draws.sample([(shape, colour) for colour in COLOURS for shape in SHAPES], FEWEST + draws.below(MOST - 2))
    placed: list[tuple[str, str, str]] = []
    areas: list[int] = []
    for shape, colour in kinds:
        word = draws.pick(tuple(RADII))
        pixels = _place(draws, shape, word, owner, areas)
        if pixels is not None:
            placed.append((shape, colour, word))
            areas.append(int(pixels.sum()))
            owner[pixels] = len(placed)
            canvas[pixels] = _surface(draws, colour, size, *np.nonzero(pixels))
    canvas += draws.uniform(-GRAIN, GRAIN, size, size, 3)
    canvas = np.clip(canvas, 0, 1) * draws.number(0.45, 1)  # the exposure
    image = torch.from_numpy(np.floor(canvas * 255 + 0.5).astype(np.uint8))
    masks = torch.from_numpy(owner == np.arange(1, len(placed) + 1)[:, None, None])
    return Scene(image, masks, tuple(_described(*words, mask) for words, mask in zip(placed, masks, strict=True)))


def _described(shape: str, colour: str, size: str, mask: torch.Tensor) -> SceneObject:
    box = box_of(mask)
    return SceneObject(shape, box, position_of(box, *mask.shape), colour, size)


def _background(draws: Draws, size: int) -> Array:
    """Four colours, one for each corner, that run into one another, under noise."""
    corners = draws.uniform(0.2, 0.75, 2, 2, 3)
    along = ((np.arange(size) + 0.5) / size)[:, None]
    left, right = (corners[0, i] + along * (corners[1, i] - corners[0, i]) for i in (0, 1))
    noise = _noise(draws, size, np.arange(size)[:, None], np.arange(size))
    return left[:, None] + along * (right - left)[:, None] + noise


def _noise(draws: Draws, size: int, rows: Places, columns: Places) -> Array:
    """Blocks of four sizes, each with a colour of its own, at some places of the picture."""
    total = np.zeros(3)
    for count, most in OCTAVES:
        blocks = draws.uniform(-most, most, count, count, 3)
        total = total + blocks[rows * count // size, columns * count // size]
    return total


def _place(draws: Draws, shape: str, word: str, owner: NDArray[np.int64], areas: list[int]) -> Bits | None:
    """The pixels of an object that hides none of the others too much; None where no place was found."""
    for _ in range(_TRIES):
        pixels = _pixels(draws, shape, RADII[word], len(owner))
        visible = np.bincount(owner[~pixels], minlength=len(areas) + 1)[1:]
        if np.all(visible >= LEAST_VISIBLE * np.array(areas)):
            return pixels
    return None


def _pixels(draws: Draws, shape: str, radii: tuple[float, float], size: int) -> Bits:
    """Somewhere inside the picture; a rectangle's sides differ by up to a third."""
    half = size * draws.number(*radii)
    x, y = draws.number(half, size - half), draws.number(half, size - half)
    squeeze = draws.number(0.75, 1)
    dx, dy = np.abs(np.arange(size) + 0.5 - x), np.abs(np.arange(size) + 0.5 - y)[:, None]
    if shape == "disc":
        return dx * dx + dy * dy <= half * half
    wide = draws.below(2) == 1
    return (dx <= (half if wide else squeeze * half)) & (dy <= (squeeze * half if wide else half))


def _surface(draws: Draws, colour: str, size: int, rows: Places, columns: Places) -> Array:
    """An object's pixels [N, 3]: near to its colour's name, with a pattern, a shade from side to side, and noise."""
    base = np.array(COLOURS[colour]) + draws.uniform(-0.05, 0.05, 3)
    period = max(1, size // (16 + 8 * draws.below(3)))
    pattern = draws.pick((rows + columns, rows - columns, rows, columns))
    stripes = (pattern // period % 2 + (columns // period % 2) * draws.below(2)) % 2
    shade = (rows * draws.number(-0.2, 0.2) + columns * draws.number(-0.2, 0.2)) / size
    factor = 1 + shade + draws.number(0.08, 0.2) * (stripes - 0.5)
    return base * factor[:, None] + 0.5 * _noise(draws, size, rows, columns)
