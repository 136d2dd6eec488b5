# SPDX-License-Identifier: Apache-2.0
"""A picture with the objects that edits can be local to, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class SceneObject:
    """What can be said of an object."""

    name: str
    """Its shape or class."""
    box: tuple[int, int, int, int]
    """x1, y1, x2, y2 of its visible pixels, the last not included."""
    position: str
    """The part of the picture, one of nine, that the box's centre is in: ``top left``."""
    colour: str = ""
    """The name of its colour, where known."""
    size: str = ""
    """``small``, ``medium`` or ``large``, where known."""


@dataclass(frozen=True)
class Scene:
    """A picture and its M objects."""

    image: Tensor
    """uint8 [H, W, 3], RGB."""
    masks: Tensor
    """bool [M, H, W], the visible pixels of each object."""
    objects: tuple[SceneObject, ...]


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the pixels of a mask bool [H, W] that is not empty."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def position_of(box: tuple[int, int, int, int], height: int, width: int) -> str:
    """Where the centre of a box lies, in words."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    row, column = ROWS[min(2, int(3 * y / height))], COLUMNS[min(2, int(3 * x / width))]
    return column if row == "middle" else row if column == "centre" else f"{row} {column}"
