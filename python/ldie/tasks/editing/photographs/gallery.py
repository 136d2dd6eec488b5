# SPDX-License-Identifier: Apache-2.0
"""One photograph under each operator at three strengths: a page, a picture, a recipe for each operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ldie.files import make_folder, write_text, write_whole
from ldie.tasks.detection.fonts import font_for
from ldie.tasks.editing.pages.before_after import gallery_page, small
from ldie.tasks.editing.pages.step_words import words
from ldie.tasks.editing.photographs.photos import Photo
from ldie_ext import Recipe, RecipeStep

STRENGTHS = (1 / 3, 2 / 3, 1.0)

_WARM = (1.6, 1.4, 1.2, 1.0, 0.9, 0.8, 0.6, 0.5)
_COLD = tuple(reversed(_WARM))
SAMPLES: Mapping[str, tuple[float, ...]] = {
    "BRIGHTNESS": (0.6,),
    "CONTRAST": (1.0,),
    "SATURATION": (0.8,),
    "EXPOSURE": (-1.5,),
    "LIGHTNESS": (0.5,),
    "BLACK_WHITE": (1.0,),
    "WHITE_BALANCE": (1.25, 0.95, 0.7),
    "HUE": (0.3,),
    "COLORIZE": (0.58,),
    "TONE_CURVE": (0.5, 0.75, 1.1, 1.5, 1.6, 1.2, 0.8, 0.55),
    "COLOR_CURVE": (*_WARM, *([1.0] * 8), *_COLD),
    "SHARPNESS": (1.5,),
    "BLUR": (1.0,),
    "EDGE": (1.0,),
    "COLOR_BG": (0.0,),
    "RADIAL_BLUR": (0.2,),
    "FACET_BLUR": (4.0,),
    "DENOISE": (0.3,),
    "DEHAZE": (1.0,),
    "ROTATE": (0.3,),
    "CROP": (0.2, 0.2, 0.8, 0.8),
}
"""Parameters that show what an operator does; those that mirror or need an object have no strengths."""
_PICTURE, _PAGE = "gallery.png", "gallery.html"
_TITLE = "the photograph, then each operator at a third, two thirds and all of it"
_COLUMNS = 2  # operators beside each other
_GAP, _TEXT, _SIZE = 8, 26, 15
_PAPER, _INK = (27, 27, 27), (221, 221, 221)


def targets(out: Path) -> list[Path]:
    """All that :func:`write_gallery` writes."""
    return [out / _PICTURE, out / _PAGE, *(_recipe_of(name, out) for name in SAMPLES)]


def write_gallery(photo: Photo, out: Path, width: int = 260) -> Path:
    """Writes ``gallery.html``, the same as ``gallery.png``, and ``recipes/<operator>.json``; returns the page's path.

    Args:
        photo: To show the operators on, reduced before they are applied.
        out: The folder.
        width: Of one of the pictures, in pixels.
    """
    longest = round(width * max(1.0, photo.size[0] / photo.size[1]))
    pixels = np.asarray(small(photo.pixels, longest))
    recipes = {name: Recipe([RecipeStep(name, params)]) for name, params in SAMPLES.items()}
    rows = {_TITLE: [pixels]}
    for recipe in recipes.values():
        rows[words(recipe.steps[0])] = [recipe.apply(pixels, strength=strength) for strength in STRENGTHS]
    make_folder(out)
    for name, recipe in recipes.items():
        write_text(_recipe_of(name, out), recipe.to_text())
    sheet = _sheet(rows)
    write_whole(out / _PICTURE, lambda temporary: sheet.save(temporary, "PNG"))
    write_text(out / _PAGE, gallery_page(photo.path.name, rows))
    return out / _PAGE


def _recipe_of(name: str, out: Path) -> Path:
    return out / "recipes" / f"{name.lower()}.json"


def _sheet(rows: Mapping[str, Sequence[NDArray[np.uint8]]]) -> Image.Image:
    """The photograph, then operators two beside each other, three strengths each."""
    height, width, _ = rows[_TITLE][0].shape
    cell_width = len(STRENGTHS) * (width + 2) + 2 * _GAP
    cell_height = height + _TEXT + _GAP
    lines = -(-len(rows) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * cell_width + _GAP, lines * cell_height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for n, (title, pictures) in enumerate(rows.items()):
        x, y = _GAP + n % _COLUMNS * cell_width, _GAP + n // _COLUMNS * cell_height
        draw.text((x, y), title, _INK, font_for(title, _SIZE))
        for k, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (x + k * (width + 2), y + _TEXT))
    return sheet
