# SPDX-License-Identifier: Apache-2.0
"""A picture for people: an image with marks in its own pixel coordinates, of a size that can be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ldie.tasks.detection.colors import Color, contrast
from ldie.tasks.detection.labels import Labels, Rectangle

MIN_SIDE = 384
"""Smaller images are enlarged to about this, by a whole factor, so that text on them is legible."""
MAX_ENLARGED = 2048
"""No side exceeds this by it: thin images stay thin."""
MAX_SIDE = 4096
"""Larger images are shrunk to this."""
ROOM = 96
"""Sides of a picture at least: thin images are drawn on a sheet with room for names."""
_SHEET: Color = (64, 64, 64)
_MASK_OPACITY = 102  # of 255
_STRIPE = 4
_DASH = 6
_POINT_RADIUS = 4

Skeleton: TypeAlias = Sequence[tuple[int, int]]
"""Pairs of keypoints that belong together, counted from 0."""


class Canvas:
    """An image to draw on in the image's own pixel coordinates; what lies far outside, or nowhere, is left out.

    Args:
        image: uint8 [3, H, W], RGB.
    """

    def __init__(self, image: Tensor) -> None:
        self.size: tuple[int, int] = (image.shape[1], image.shape[2])
        height, width = drawn_size(self.size)
        self._scale = width / self.size[1], height / self.size[0]
        self._region = 0, 0, width, height
        source = Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())
        self.image = Image.new("RGB", (max(width, ROOM), max(height, ROOM)), _SHEET)
        self.image.paste(source.resize((width, height), Image.Resampling.BOX), self._region)
        self._unit = max(1, round(min(height, width) / 720))  # lines and text grow with large pictures
        self._rows, self._columns = _shown(self.size[0], height), _shown(self.size[1], width)
        self._labels = Labels(self.image, self._unit)

    def box(
        self, box: Sequence[float], color: Color, dashed: bool = False, casing: Color | None = None, width: int = 2
    ) -> None:
        """A box (xyxy); casing: the colour of a wider line beneath, to show on any background."""
        place = self._place(box)
        if place is None:
            return
        if casing is not None:
            self._frame(place, casing, (width + 2) * self._unit)
        self._frame(place, color, width * self._unit, dashed)

    def mask(self, pixels: Tensor, color: Color, hatched: bool = False) -> None:
        """A translucent mask, bool [H, W], with an outline; hatched: diagonal stripes of it."""
        mask: NDArray[np.bool_] = pixels.cpu().numpy()
        rows, columns = _window(mask, 1, self._rows), _window(mask, 0, self._columns)
        selected = mask[self._rows[rows]][:, self._columns[columns]]
        if not selected.size:
            return
        window = columns.start, rows.start, columns.stop, rows.stop
        outline = selected & ~_eroded(selected)
        if hatched:
            selected &= self._stripes[rows, columns]
        self.image.paste(color, window, Image.fromarray(selected.astype(np.uint8) * _MASK_OPACITY))
        self.image.paste(color, window, Image.fromarray(outline.astype(np.uint8) * 255))

    def keypoints(self, keypoints: Tensor, color: Color, skeleton: Skeleton = ()) -> None:
        """Points [K, 3] of x, y (pixel indices) and visibility: 2 filled, 1 (hidden) hollow, 0 not drawn.

        The pairs of ``skeleton`` whose points are both labelled are joined.
        """
        draw = ImageDraw.Draw(self.image)
        (x_scale, y_scale), unit = self._scale, self._unit
        places = [((x + 0.5) * x_scale, (y + 0.5) * y_scale) for x, y in keypoints[:, :2].tolist()]
        visibilities = [v if self._is_near(place) else 0 for place, v in zip(places, keypoints[:, 2].tolist())]
        labelled = [place for place, visibility in zip(places, visibilities) if visibility > 0]
        bones = [(*places[a], *places[b]) for a, b in skeleton if visibilities[a] > 0 and visibilities[b] > 0]
        for line_color, width in ((contrast(color), 4), (color, 2)):  # an edge that shows on a mask of this colour
            for bone in bones:
                draw.line(bone, fill=line_color, width=width * unit)
        extent = max((max(axis) - min(axis) for axis in zip(*labelled)), default=0)
        radius = min(max(extent / 40, 2), _POINT_RADIUS) * unit
        for (x, y), visibility in zip(places, visibilities):
            if visibility > 0:
                outline = (x - radius, y - radius, x + radius, y + radius)
                draw.ellipse(outline, fill=color if visibility > 1 else None, outline=contrast(color))

    def label(self, box: Sequence[float], name: str, color: Color, detail: str = "", below: bool = False) -> None:
        """A name, and a detail after it, at a corner of a box: see :meth:`ldie.tasks.detection.labels.Labels.put`."""
        place = self._place(box)
        if place is not None:
            self._labels.put(place, name, color, detail, below)

    def heatmap(self, heat: Tensor) -> None:
        """A map [h, w] in 0..1 over the whole image, black where 0."""
        from matplotlib import colormaps

        values = Image.fromarray(heat.cpu().float().nan_to_num().clamp(0, 1).numpy()).resize(
            self._region[2:], Image.Resampling.BILINEAR
        )
        colors = Image.fromarray(colormaps["inferno"](np.asarray(values), bytes=True)[..., :3])
        self.image.paste(Image.blend(self.image.crop(self._region), colors, 0.6), self._region)

    def picture(self) -> Image.Image:
        """What was drawn, with a note of how many names found no room."""
        self._labels.note()
        return self.image

    @cached_property
    def _stripes(self) -> NDArray[np.bool_]:
        """Diagonal stripes over the whole picture."""
        stripe = _STRIPE * self._unit
        return np.add.outer(np.arange(len(self._rows)), np.arange(len(self._columns))) % (2 * stripe) < stripe

    def _place(self, box: Sequence[float]) -> Rectangle | None:
        """A box in pixels of the picture, cut a little outside of it; None if nothing of it is in the picture."""
        (height, width), (x1, y1, x2, y2) = self.size, box
        inside = min(x1, x2) <= width and max(x1, x2) >= 0 and min(y1, y2) <= height and max(y1, y2) >= 0
        if not inside or any(math.isnan(value) for value in box):
            return None
        (left, right), (top, bottom) = (
            sorted(_within(value * scale, limit, 2 * self._unit) for value in values)
            for values, scale, limit in zip(((x1, x2), (y1, y2)), self._scale, self._region[2:])
        )
        return left, top, right, bottom

    def _is_near(self, point: Sequence[float]) -> bool:
        """Whether a point is not so far outside that drawing would never get there."""
        return all(-limit <= value <= 2 * limit for value, limit in zip(point, self.image.size))

    def _frame(self, place: Rectangle, color: Color, width: int, dashed: bool = False) -> None:
        x1, y1, x2, y2 = (round(value) - width // 2 for value in place)
        x3, y3 = x2 + width, y2 + width
        if not dashed:
            ImageDraw.Draw(self.image).rectangle((x1, y1, x3 - 1, y3 - 1), outline=color, width=width)
            return
        for side in ((x1, y1, x3, y1 + width), (x1, y2, x3, y3), (x1, y1, x1 + width, y3), (x2, y1, x3, y3)):
            self.image.paste(color, side, _dashes(side[2] - side[0], side[3] - side[1], _DASH * self._unit))


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of the picture of an image of ``size``."""
    shortest, longest = min(size), max(size)
    enlarged = max(1, min(round(MIN_SIDE / shortest), MAX_ENLARGED // longest))
    factor = min(enlarged, MAX_SIDE / longest)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _shown(length: int, drawn: int) -> NDArray[np.int64]:
    """Which of ``length`` rows or columns of an image each of a picture's shows."""
    return ((np.arange(drawn) + 0.5) * (length / drawn)).astype(np.int64)


def _window(mask: NDArray[np.bool_], across: int, shown: NDArray[np.int64]) -> slice:
    """The rows (across axis 1) or columns (0) of a picture with a mask, and one around them where there is one."""
    places = np.flatnonzero(mask.any(axis=across))
    if not len(places):
        return slice(0, 0)
    start, stop = np.searchsorted(shown, [places[0], places[-1] + 1])
    return slice(max(int(start) - 1, 0), min(int(stop) + 1, len(shown)))


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask [H, W] with all four neighbours in it; beyond the border counts as in it."""
    padded = np.pad(mask, 1, constant_values=True)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _dashes(width: int, height: int, dash: int) -> Image.Image:
    along = np.maximum.outer(np.arange(height), np.arange(width))
    return Image.fromarray((along // dash % 2 == 0).astype(np.uint8) * 255)


def _within(value: float, limit: float, line: int) -> float:
    """A coordinate where its line is seen whole if it lies in the picture, and not at all if it lies outside."""
    if 0 <= value <= limit:
        return min(max(value, line // 2), limit - line // 2)
    return min(max(value, -2 * line), limit + 2 * line)
