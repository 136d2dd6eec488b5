# SPDX-License-Identifier: Apache-2.0
"""Pictures of coarse masks: an image in the dark, and on it the cells that masks claim, each mask in its colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ldie.tasks.detection.colors import BLACK, WHITE, Color
from ldie.tasks.detection.fonts import font_for
from ldie.tasks.detection.masks import Size

_Scalar = TypeVar("_Scalar", bound=np.generic)
PAPER: Color = (24, 26, 32)
"""What captions are written on."""
INK: Color = (236, 236, 240)
FAINT: Color = (164, 168, 178)
_LIGHT, _GRAY = 0.4, 0.6
"""What is left of an image's light, and how much of its colour is gone."""
_OPACITY = 0.62
_EXAMPLE: Color = (230, 120, 40)
_STRIPES, _STRIPE = 3, 6
"""So many masks are seen where more claim a cell, in stripes of so many pixels."""
_LINE = 2
_LEAST_LINED = 5
"""Lines between cells are drawn where these have so many pixels."""
_FONT_SIZE = 14


class CellPicture:
    """An image, darkened, with maps of cells over it.

    Args:
        image: uint8 [3,H,W], RGB.
        size: (h, w) of the picture.
        cell: Side of a cell in pixels of the picture; cells at the right and at the bottom may be cut.
    """

    def __init__(self, image: Tensor, size: Size, cell: int) -> None:
        self.size, self.cell = size, cell
        pixels = np.asarray(resized(image, size), dtype=np.float32)
        pixels += _GRAY * (pixels.mean(2, keepdims=True) - pixels)
        self._pixels: NDArray[np.float32] = pixels * _LIGHT
        self._marks: list[tuple[float, float, Color, bool]] = []
        rows, columns = (np.arange(side) % cell == 0 if cell >= _LEAST_LINED else np.zeros(side, bool) for side in size)
        self._lines: NDArray[np.bool_] = np.logical_or.outer(rows, columns)

    def masks(self, probabilities: Tensor, colors: Sequence[Color]) -> None:
        """The cells of masks, float [N,h,w], with more than one half; striped where several have them."""
        claimed = probabilities.cpu() > 0.5
        ranks = min(_STRIPES, len(claimed))
        self._blend(self._lines, WHITE, 0.1)
        if not ranks:
            return
        values, owners = probabilities.cpu().topk(ranks, 0)
        count = self._enlarged((values > 0.5).sum(0).numpy())
        stripes = np.add.outer(np.arange(self.size[0]), np.arange(self.size[1])) // _STRIPE
        shown = self._enlarged(owners.numpy())
        owner = np.take_along_axis(shown, (stripes % count.clip(min=1))[None], 0)[0]
        self._blend(count > 0, np.array(colors, dtype=np.float32)[owner], _OPACITY)
        self._blend((count > 0) & self._lines, BLACK, 0.3)
        for mask, color in zip(claimed.numpy(), colors):
            if mask.any():
                self._outline(self._enlarged(mask), color)

    def mark(self, x: float, y: float, color: Color, ring: bool) -> None:
        """A place in pixels of the picture: a ring or a dot, on top of everything else."""
        self._marks.append((x, y, color, ring))

    def picture(self) -> Image.Image:
        """What was drawn."""
        image = Image.fromarray(self._pixels.round().clip(0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for x, y, color, ring in self._marks:
            draw_mark(draw, x, y, color, ring)
        return image

    def _outline(self, mask: NDArray[np.bool_], color: Color) -> None:
        """Inner border of a mask, but not where the picture ends."""
        padded = np.pad(mask, _LINE, mode="edge")
        height, width = mask.shape
        moved = [
            padded[y : y + height, x : x + width]
            for y, x in ((0, _LINE), (2 * _LINE, _LINE), (_LINE, 0), (_LINE, 2 * _LINE))
        ]
        self._blend(mask & ~np.logical_and.reduce(moved), color, 1.0)

    def _blend(self, where: NDArray[np.bool_], color: Color | NDArray[np.float32], opacity: float) -> None:
        colors = np.broadcast_to(np.asarray(color, dtype=np.float32), self._pixels.shape)[where]
        self._pixels[where] += opacity * (colors - self._pixels[where])

    def _enlarged(self, maps: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Maps [...,h,w] of cells in pixels of the picture."""
        rows, columns = (np.arange(side) // self.cell for side in self.size)
        return maps[..., rows[:, None], columns]


def draw_mark(draw: ImageDraw.ImageDraw, x: float, y: float, color: Color, ring: bool) -> None:
    """A ring or a dot in a colour, edged so that it shows on everything."""
    for radius, fill in ((9, BLACK), (8, WHITE), (5, BLACK), (4, color)) if ring else ((5, BLACK), (3, color)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def resized(image: Tensor, size: Size) -> Image.Image:
    """An image uint8 [3,H,W] of another size; when enlarged, its pixels stay squares."""
    source = Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())
    grows = size[0] >= source.height
    return source.resize((size[1], size[0]), Image.Resampling.BOX if grows else Image.Resampling.BICUBIC)


def captioned(picture: Image.Image, title: str, note: str) -> Image.Image:
    """A picture below a line with a title at its left and a note at its right."""
    font = font_for(title + note, _FONT_SIZE)
    wide, high = text_length(f"{title}  {note}") + 16, sum(font.getmetrics()) + 8
    sheet = Image.new("RGB", (max(picture.width, wide), picture.height + high), PAPER)
    sheet.paste(picture, (0, high))
    draw = ImageDraw.Draw(sheet)
    draw.text((6, 4), title, fill=INK, font=font)
    draw.text((sheet.width - 6, 4), note, fill=FAINT, font=font, anchor="ra")
    return sheet


def draw_legend(*entries: tuple[str, str]) -> Image.Image:
    """A line of what marks mean: (``ring``, ``dot`` or nothing, text) each."""
    widths = [text_length(text) + (24 if mark else 0) + 24 for mark, text in entries]
    sheet = Image.new("RGB", (sum(widths), 30), WHITE)
    draw, left = ImageDraw.Draw(sheet), 12
    for (mark, text), width in zip(entries, widths):
        if mark:
            draw_mark(draw, left + 6, 13, _EXAMPLE, mark == "ring")
        draw.text((left + (24 if mark else 0), 4), text, fill=PAPER, font=font_for(text, _FONT_SIZE))
        left += width
    return sheet


def text_length(text: str) -> int:
    """Pixels of a line of a caption."""
    return int(font_for(text, _FONT_SIZE).getlength(text)) + 1
