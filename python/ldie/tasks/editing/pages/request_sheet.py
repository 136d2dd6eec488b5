# SPDX-License-Identifier: Apache-2.0
"""Requests to look at: picture, what a model made of it, and what was meant, under the request and the steps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ldie.tasks.detection.fonts import font_for
from ldie.tasks.detection.visualization import grid
from ldie.tasks.editing.pages.pair_sheet import scaled
from ldie.tasks.editing.pages.step_words import words
from ldie.tasks.editing.replay import picture_of
from ldie.tasks.editing.sample import EditPrediction, EditSample, EditSequence
from ldie_ext import Recipe

_SIDE, _LETTERS, _TEXT = 192, 28, 14
_PAPER, _INK, _EDGE = (27, 27, 27), (221, 221, 221), (255, 214, 10)


def request_sheet(
    samples: Sequence[EditSample], found: Sequence[EditPrediction | None], columns: int = 2
) -> Image.Image:
    """Sources, results and targets side by side, the edge of a region in yellow."""
    return grid([_cell(*pair) for pair in zip(samples, found, strict=True)], columns)


def _cell(sample: EditSample, prediction: EditPrediction | None) -> Image.Image:
    pictures = [_picture(outlined(sample.source, sample.region))]
    lines = [sample.request]
    made = None if prediction is None else picture_of(sample, prediction)
    if prediction is not None and made is not None:
        pictures.append(_picture(made))
        lines.append("made: " + _in_words(prediction.steps))
    if sample.target is not None:
        pictures.append(_picture(sample.target))
    if sample.steps is not None:
        lines.append("meant: " + _in_words(sample.steps))
    text = "\n".join(textwrap.shorten(line, _LETTERS * len(pictures), placeholder=" ...") for line in lines)
    cell = Image.new("RGB", (len(pictures) * (_SIDE + 2), _SIDE + (_TEXT + 5) * len(lines) + 6), _PAPER)
    for column, picture in enumerate(pictures):
        cell.paste(picture, (column * (_SIDE + 2), 0))
    ImageDraw.Draw(cell).multiline_text((4, _SIDE + 2), text, _INK, font_for(text, _TEXT), spacing=4)
    return cell


def _in_words(steps: EditSequence | None) -> str:
    recipe = Recipe([]) if steps is None else Recipe.from_edits(steps.ops, steps.params)
    return "; ".join(map(words, recipe.steps)) or "no steps"


def outlined(image: Tensor, region: Tensor | None) -> Tensor:
    """The picture with the pixels just inside the region's edge in yellow."""
    if region is None:
        return image
    padded = np.pad(region.numpy(), 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels = image.permute(1, 2, 0).numpy().copy()
    pixels[region.numpy() & ~inner] = _EDGE
    return image.new_tensor(pixels).permute(2, 0, 1)


def _picture(image: Tensor) -> Image.Image:
    return scaled(image.permute(1, 2, 0).numpy(), _SIDE)
