# SPDX-License-Identifier: Apache-2.0
"""How a mask pyramid grew: a row of pictures for each image, one of each level, and one of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import ldie_ext
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.growth import Level
from ldie.systems.mask_pyramid.postprocess import Scored, ranked
from ldie.tasks.detection.canvas import Canvas
from ldie.tasks.detection.cell_pictures import CellPicture, captioned, draw_legend
from ldie.tasks.detection.colors import WHITE, Color, class_color
from ldie.tasks.detection.fonts import legible_names
from ldie.tasks.detection.mask_maps import Frame, Ranking, draw
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.visualization import grid

SHOWN = 6
"""Images that are drawn at most."""
MIN_SCORE = 0.3
"""Of what is drawn as a result."""
_SIDE, _LONGEST = 384, 1024
"""Pixels of a picture's shorter side, about, unless the longer one would then be too long."""
_LEGEND = "A colour is one hypothesis on all levels. Striped cells are claimed by several."

Identity: TypeAlias = tuple[int, int]
"""Of a hypothesis of an image: its first level, and its slot there."""


class Grown(NamedTuple):
    """What became of one image."""

    image: Tensor
    """uint8 [3,H,W], RGB, the file."""
    levels: Sequence[Level]
    """Of a batch of this image alone, the coarsest first."""
    scored: Scored
    """The hypotheses of the last one."""
    frame: Frame
    """The sizes of batch, image in it, and file."""


def draw_growth(grown: Grown, config: MaskPyramidConfig, names: Sequence[str]) -> list[Image.Image]:
    """A picture of each level, and one of the results with names of classes and scores.

    Every hypothesis that is alive has a colour of its own, the same in all pictures: the cells that its mask has (more
    than half), striped where several have them, with an outline, and its place of birth, a ring on the level that it is
    born on and a dot later. Results, and then those that live longest, have the colours that differ most.
    """
    strides, levels = config.model.strides, grown.levels
    ranking = ranked(grown.scored, 0, config)
    living = trace(levels)
    colors = _colors(living, ranking)
    height, width = grown.frame.image
    factor = min(_SIDE / min(height, width), _LONGEST / max(height, width))
    scale = max(1, round(factor * strides[-1])) / strides[-1]  # cells of the finest level are whole pixels
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pictures, before = [], 0
    for index, (stride, level, own) in enumerate(zip(strides, levels, living)):
        picture = CellPicture(grown.image, size, round(stride * scale))
        newborn = {slot for slot, (first, _) in own.items() if first == index}
        _draw_level(picture, level, newborn, scale, {slot: colors[each] for slot, each in own.items()})
        alive, born = int(level.hypotheses.seeds.alive.sum()), int(level.born.sum())
        gone = before + born - alive
        pictures.append(captioned(picture.picture(), f"stride {stride}", f"{born} born, {gone} gone, {alive} alive"))
        before = alive
    last = {slot: colors[own] for slot, own in living[-1].items()}
    return [*pictures, _draw_results(grown, ranking, size, last, config, names)]


def growth_sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of pictures of as many levels, with a legend below."""
    sheet = grid([picture for row in rows for picture in row], columns=len(rows[0]))
    legend = draw_legend(("ring", "born on this level"), ("dot", "born before"), ("", _LEGEND))
    both = Image.new("RGB", (max(sheet.width, legend.width), sheet.height + legend.height), WHITE)
    both.paste(sheet, (0, 0))
    both.paste(legend, (0, sheet.height))
    return both


def trace(levels: Sequence[Level]) -> list[dict[int, Identity]]:
    """Who is in the slots in use of a single image, on each level."""
    living: list[dict[int, Identity]] = []
    count = 0  # of slots of the level before
    for index, level in enumerate(levels):
        before = living[-1] if living else {}
        origins = level.slots[0].tolist()
        living.append(
            {
                slot: before[origin] if origin < count else (index, origin)
                for slot, origin in enumerate(origins)
                if origin >= 0
            }
        )
        count = len(origins)
    return living


def _colors(living: Sequence[dict[int, Identity]], ranking: Ranking) -> dict[Identity, Color]:
    """First the results, the best first, then those that live longest."""
    results = [living[-1][row] for row in ranking.rows.tolist()]
    ordered = dict.fromkeys([*results, *(own for level in reversed(living) for own in level.values())])
    return {own: class_color(number, number // 8) for number, own in enumerate(ordered)}


def _draw_level(picture: CellPicture, level: Level, newborn: set[int], scale: float, colors: dict[int, Color]) -> None:
    seeds, masks = level.hypotheses
    picture.masks(masks.logits[0, list(colors)].float().sigmoid(), list(colors.values()))
    for slot, color in sorted(colors.items(), key=lambda item: item[0] in newborn):  # newborns on top
        x, y = seeds.places[0, slot].tolist()
        picture.mark(x * scale, y * scale, color, ring=slot in newborn)


def _draw_results(
    grown: Grown,
    ranking: Ranking,
    size: Size,
    colors: dict[int, Color],
    config: MaskPyramidConfig,
    names: Sequence[str],
) -> Image.Image:
    best = int((ranking.scores >= MIN_SCORE).sum())
    chosen = [colors[row] for row in ranking.rows.tolist()[:best]]
    masks = draw(
        grown.scored.maps[0],
        ranking.rows[:best],
        grown.frame._replace(file=size),
        config.test.mask_threshold,
        packed=False,
        exclusive=config.test.paint,
    ).cpu()
    picture = CellPicture(grown.image, size, 1)
    picture.masks(masks.float(), chosen)
    canvas = Canvas(torch.from_numpy(np.array(picture.picture())).permute(2, 0, 1))
    boxes = ldie_ext.masks_to_boxes(masks).tolist()
    labels, scores, shown = ranking.labels.tolist(), ranking.scores.tolist(), legible_names(names)
    for box, label, score, color in zip(boxes, labels, scores, chosen):
        canvas.label(box, shown[label], color, detail=f" {score:.2f}")
    return captioned(canvas.picture(), "results", f"{best} of {len(ranking.rows)} with a score of {MIN_SCORE} or more")
