# SPDX-License-Identifier: Apache-2.0
"""Pictures of samples and predictions: boxes, labels, scores, masks, keypoints, crowds, heatmaps."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ldie.tasks.detection.masks import select, to_bitmaps
from ldie.tasks.detection.sample import Prediction, Sample

MIN_SIDE = 384
"""Smaller images are enlarged to about this, by a whole factor, so that text on them is legible."""
_FONT_SIZE = 13
_TRUTH = (255, 255, 255)
_MASK_OPACITY = 0.4
_STRIPE = 4
_POINT_RADIUS = 4

Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]
Skeleton = Sequence[tuple[int, int]]
"""Pairs of keypoints that belong together, counted from 0."""


class Canvas:
    """An image to draw on in the image's own pixel coordinates.

    Args:
        image: uint8 [3, H, W], RGB.
    """

    def __init__(self, image: Tensor) -> None:
        pixels = image.cpu().permute(1, 2, 0).contiguous().numpy()
        self.size: tuple[int, int] = (pixels.shape[0], pixels.shape[1])
        self.scale = max(1, round(MIN_SIDE / min(self.size)))
        picture = Image.fromarray(pixels)
        self.image = picture.resize((picture.width * self.scale, picture.height * self.scale), Image.Resampling.NEAREST)
        self._font = ImageFont.load_default(_FONT_SIZE)
        self._labels: list[Rectangle] = []

    def box(self, box: Sequence[float], color: Color, dashed: bool = False) -> None:
        """A box (xyxy)."""
        draw = ImageDraw.Draw(self.image)
        x1, y1, x2, y2 = (value * self.scale for value in box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        for start, end in zip(corners, [*corners[1:], corners[0]]):
            _line(draw, start, end, color, width=1 if dashed else 2, dashed=dashed)

    def mask(self, pixels: Tensor, color: Color, hatched: bool = False) -> None:
        """A translucent mask, bool [H, W], with an outline; hatched: diagonal stripes of it."""
        selected = pixels.cpu().numpy().repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        outline = selected & ~_eroded(selected)
        if hatched:
            row, column = np.ogrid[: selected.shape[0], : selected.shape[1]]
            selected &= (row + column) % (2 * _STRIPE) < _STRIPE
        picture = np.array(self.image)
        picture[selected] = (1 - _MASK_OPACITY) * picture[selected] + _MASK_OPACITY * np.array(color)
        picture[outline] = color
        self.image = Image.fromarray(picture)

    def keypoints(self, keypoints: Tensor, color: Color, skeleton: Skeleton = ()) -> None:
        """Points [K, 3] of x, y (pixel indices) and visibility: 2 filled, 1 (hidden) hollow, 0 not drawn.

        The pairs of ``skeleton`` whose points are both labelled are joined.
        """
        draw = ImageDraw.Draw(self.image)
        places = ((keypoints[:, :2] + 0.5) * self.scale).tolist()
        visibilities = keypoints[:, 2].tolist()
        labelled = [place for place, visibility in zip(places, visibilities) if visibility > 0]
        bones = [(*places[a], *places[b]) for a, b in skeleton if visibilities[a] > 0 and visibilities[b] > 0]
        for line_color, width in ((_contrast(color), 4), (color, 2)):  # an edge that shows on a mask of this colour
            for bone in bones:
                draw.line(bone, fill=line_color, width=width)
        extent = max((max(axis) - min(axis) for axis in zip(*labelled)), default=0)
        radius = min(max(extent / 40, 2), _POINT_RADIUS)
        for (x, y), visibility in zip(places, visibilities):
            if visibility > 0:
                outline = (x - radius, y - radius, x + radius, y + radius)
                draw.ellipse(outline, fill=color if visibility > 1 else None, outline=_contrast(color))

    def label(self, box: Sequence[float], text: str, color: Color) -> None:
        """A name at a corner of a box, where it covers other names least; above the upper left one if that is free."""
        draw = ImageDraw.Draw(self.image)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=self._font)
        width, height = right - left + 4, bottom - top + 4
        x1, y1, x2, y2 = (value * self.scale for value in box)
        corners = [(x, y) for y in (y1 - height, y1, y2 - height, y2) for x in (x1, x2 - width)]
        beside = [(x, y1 + rows * height) for rows in (-2, 1, -3, 2) for x in (x1, x1 - width, x2)]
        x_end, y_end = max(0, self.image.width - width), max(0, self.image.height - height)
        inside = [(min(max(x, 0), x_end), min(max(y, 0), y_end)) for x, y in (*corners, *beside)]
        places = [(x, y, x + width, y + height) for x, y in inside]
        place = min(places, key=lambda place: sum(_overlap(place, other) for other in self._labels))
        self._labels.append(place)
        draw.rectangle(place, fill=color)
        draw.text((place[0] + 2 - left, place[1] + 2 - top), text, fill=_contrast(color), font=self._font)

    def heatmap(self, heat: Tensor) -> None:
        """A map [h, w] in 0..1 over the whole image, black where 0."""
        from matplotlib import colormaps

        values = Image.fromarray(heat.cpu().float().clamp(0, 1).numpy()).resize(
            self.image.size, Image.Resampling.BILINEAR
        )
        colors = colormaps["inferno"](np.asarray(values))[..., :3] * 255
        self.image = Image.fromarray((0.4 * np.asarray(self.image) + 0.6 * colors).astype(np.uint8))


def draw_sample(sample: Sample, class_names: Sequence[str], skeleton: Skeleton = ()) -> Image.Image:
    """A sample with its annotations: masks, keypoints, boxes with class names; crowds are hatched and dashed."""
    canvas = Canvas(sample.image)
    areas = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(dim=1)
    order = areas.argsort(descending=True, stable=True).tolist()  # the small on top of the large
    colors = [class_color(label) for label in sample.labels.tolist()]
    crowds = sample.iscrowd.tolist()
    if sample.masks is not None:
        bitmaps = to_bitmaps(sample.masks, canvas.size)
        for i in order:
            canvas.mask(bitmaps[i], colors[i], hatched=crowds[i])
    for i in order:
        canvas.box(sample.boxes[i].tolist(), colors[i], dashed=crowds[i])
        if sample.keypoints is not None:
            canvas.keypoints(sample.keypoints[i], colors[i], skeleton)
    for i in order:
        name = class_names[int(sample.labels[i])]
        canvas.label(sample.boxes[i].tolist(), f"{name} (crowd)" if crowds[i] else name, colors[i])
    return canvas.image


def draw_prediction(
    image: Tensor,
    prediction: Prediction,
    class_names: Sequence[str],
    truth: Sample | None = None,
    min_score: float = 0.3,
    skeleton: Skeleton = (),
) -> Image.Image:
    """An image with predictions of at least ``min_score``, with name and score; true boxes white and dashed."""
    canvas = Canvas(image)
    shown = [i for i, score in enumerate(prediction.scores.tolist()) if score >= min_score]
    colors = {i: class_color(int(prediction.labels[i])) for i in shown}
    if prediction.masks is not None:
        bitmaps = to_bitmaps(select(prediction.masks, torch.tensor(shown, dtype=torch.int64)), canvas.size)
        for i, bitmap in zip(shown, bitmaps):
            canvas.mask(bitmap, colors[i])
    for box in truth.boxes.tolist() if truth is not None else []:
        canvas.box(box, _TRUTH, dashed=True)
    for i in reversed(shown):  # the best score last, on top
        canvas.box(prediction.boxes[i].tolist(), colors[i])
        if prediction.keypoints is not None:
            points = prediction.keypoints[i].clone()
            points[:, 2] = 2  # the third number of a prediction is a score
            canvas.keypoints(points, colors[i], skeleton)
    for i in shown:
        text = f"{class_names[int(prediction.labels[i])]} {float(prediction.scores[i]):.2f}"
        canvas.label(prediction.boxes[i].tolist(), text, colors[i])
    return canvas.image


def draw_heatmap(image: Tensor, heat: Tensor) -> Image.Image:
    """An image under a heatmap [h, w] in 0..1."""
    canvas = Canvas(image)
    canvas.heatmap(heat)
    return canvas.image


def grid(pictures: Sequence[Image.Image], columns: int = 4, gap: int = 6) -> Image.Image:
    """Pictures side by side on a white sheet, row by row, each row as high as its highest picture."""
    columns = max(1, min(columns, len(pictures)))
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    width = max(picture.width for picture in pictures) + gap
    heights = [max(picture.height for picture in row) + gap for row in rows]
    sheet = Image.new("RGB", (columns * width + gap, sum(heights) + gap), "white")
    y = gap
    for row, height in zip(rows, heights):
        for column, picture in enumerate(row):
            sheet.paste(picture, (gap + column * width, y))
        y += height
    return sheet


def class_color(label: int) -> Color:
    """A saturated colour; neighbours in the list of classes are far apart in hue (golden ratio steps)."""
    red, green, blue = colorsys.hsv_to_rgb((0.05 + label * 0.61803398875) % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _line(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    color: Color,
    width: int,
    dashed: bool,
) -> None:
    if not dashed:
        draw.line((*start, *end), fill=color, width=width)
        return
    length = math.dist(start, end)
    dash = 5.0
    for i in range(0, math.ceil(length / dash), 2):
        a, b = i * dash / length, min(1.0, (i + 1) * dash / length)
        points = [(start[k] + t * (end[k] - start[k])) for t in (a, b) for k in (0, 1)]
        draw.line(points, fill=color, width=width)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask [H, W] with all four neighbours in it; beyond the border counts as in it."""
    padded = np.pad(mask, 1, constant_values=True)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _overlap(a: Rectangle, b: Rectangle) -> float:
    """Common area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _contrast(color: Color) -> Color:
    return (0, 0, 0) if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else (255, 255, 255)
