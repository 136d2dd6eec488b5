# SPDX-License-Identifier: Apache-2.0
"""Names of objects in a picture: in which font, how long, and where."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldie.tasks.detection.colors import WHITE, Color, contrast
from ldie.tasks.detection.fonts import font_for, shortened

Rectangle: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture."""
_FONT_SIZE = 12
_MOST_COVERED = 1 / 3
"""Part of a picture that names may cover."""
_MOST_OVERLAP = 1 / 2
"""Part of a name that others may cover."""


class Labels:
    """The names in a picture. None hides others: when there is no room for more, the rest is left out.

    Args:
        picture: To draw on.
        unit: By how much text is larger than usual.
    """

    def __init__(self, picture: Image.Image, unit: int) -> None:
        self._picture = picture
        self._unit = unit
        self._taken = np.zeros((picture.height, picture.width), dtype=np.bool_)
        self._area = 0
        self._left_out = 0

    def put(self, box: Rectangle, name: str, color: Color, detail: str = "", below: bool = False) -> None:
        """A name with a detail after it at a corner of a box, where it covers other names least.

        That is above the upper left corner if it is free, or with ``below`` under the lower left one. A name that is
        too long for the picture is shortened.
        """
        text, font = self._fitting(name, detail)
        width, height = self._size(text, font)
        place = self._place(box, width, height, below)
        if place is None:
            self._left_out += 1
        else:
            self._draw(text, font, (*place, width, height), color)

    def note(self) -> None:
        """Says in the lower left corner how many names were left out, if any."""
        if self._left_out:
            text, font = self._fitting(f"+ {self._left_out:,} names", "")
            width, height = self._size(text, font)
            self._draw(text, font, (0, self._picture.height - height, width, height), WHITE)

    def _fitting(self, name: str, detail: str) -> tuple[str, ImageFont.FreeTypeFont]:
        font = font_for(name + detail, _FONT_SIZE * self._unit)
        texts = (shortened(name, length) + detail for length in range(len(name), 0, -1))
        return next((text for text in texts if self._size(text, font)[0] <= self._picture.width), detail), font

    def _size(self, text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
        """Width and height of a label."""
        return math.ceil(font.getlength(text)) + 6 * self._unit, sum(font.getmetrics()) + 2 * self._unit

    def _draw(self, text: str, font: ImageFont.FreeTypeFont, place: tuple[int, int, int, int], color: Color) -> None:
        draw = ImageDraw.Draw(self._picture)
        x, y, width, height = place
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
        draw.text((x + 3 * self._unit, y + self._unit), text, fill=contrast(color), font=font)

    def _place(self, box: Rectangle, width: int, height: int, below: bool) -> tuple[int, int] | None:
        """Where a label's upper left corner goes; None if it would hide other names or too much of the picture."""
        area = width * height
        if self._area and self._area + area > _MOST_COVERED * self._taken.size:
            return None
        least, place = area + 1, (0, 0)
        for x, y in self._candidates(box, width, height, below):
            overlap = int(np.count_nonzero(self._taken[y : y + height, x : x + width]))
            if overlap < least:
                least, place = overlap, (x, y)
            if not least:
                break
        if least > _MOST_OVERLAP * area:
            return None
        self._taken[place[1] : place[1] + height, place[0] : place[0] + width] = True
        self._area += area - least
        return place

    def _candidates(self, box: Rectangle, width: int, height: int, below: bool) -> list[tuple[int, int]]:
        """Places inside the picture, the best first."""
        x1, y1, x2, y2 = box
        rows = (y2, y2 - height, y1 - height, y1) if below else (y1 - height, y1, y2 - height, y2)
        corners = [(x, y) for y in rows for x in (x1, x2 - width)]
        beside = [(x, y1 + lines * height) for lines in (-2, 1, -3, 2, -4, 3) for x in (x1, x1 - width, x2)]
        x_end, y_end = max(0, self._picture.width - width), max(0, self._picture.height - height)
        return [(int(min(max(x, 0), x_end)), int(min(max(y, 0), y_end))) for x, y in (*corners, *beside)]
