# SPDX-License-Identifier: Apache-2.0
"""Edits to look at: picture after picture before and after, with the steps between them in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ldie.tasks.detection.fonts import font_for
from ldie.tasks.detection.visualization import grid
from ldie.tasks.editing.pages.step_words import words
from ldie_ext import Recipe

_SIDE, _LINES, _LETTERS = 256, 3, 62
_TEXT = 15
_PAPER, _INK = (27, 27, 27), (221, 221, 221)


def pair_sheet(
    edits: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8], Recipe]],
    columns: int = 3,
    captions: Sequence[str] | None = None,
) -> Image.Image:
    """Pictures uint8 [H, W, 3] before and after, the recipes that lead from one to the other, and a line on each."""
    return grid(
        [_cell(*edit, title) for edit, title in zip(edits, captions or [""] * len(edits), strict=True)], columns
    )


def _cell(source: NDArray[np.uint8], target: NDArray[np.uint8], recipe: Recipe, title: str) -> Image.Image:
    pictures = [scaled(pixels, _SIDE) for pixels in (source, target)]
    text = textwrap.wrap("; ".join(map(words, recipe.steps)), _LETTERS, max_lines=_LINES)
    text = [*textwrap.wrap(title, _LETTERS, max_lines=_LINES), *text]
    width, height = pictures[0].size
    cell = Image.new("RGB", (2 * _SIDE + 2, height + len(text) * (_TEXT + 4) + 6), _PAPER)
    for column, picture in enumerate(pictures):
        cell.paste(picture, (column * (width + 2), 0))
    lines = "\n".join(text)
    ImageDraw.Draw(cell).multiline_text((4, height + 2), lines, _INK, font_for(lines, _TEXT), spacing=4)
    return cell


def scaled(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    """A picture [H, W, 3] whose longer side is so many pixels, its pixels still square."""
    height, width, _ = pixels.shape
    scale = side / max(height, width)
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(pixels).resize(size, method)
