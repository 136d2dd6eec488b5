# SPDX-License-Identifier: Apache-2.0
"""Pictures of samples and predictions: boxes, labels, scores, masks, keypoints, crowds, heatmaps; curves of a run."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ldie.data import Prediction, Sample
from ldie.data.segmentation import Segmentation, decode

MIN_SIDE = 384
"""Smaller images are enlarged to about this, by a whole factor, so that text on them is legible."""
_FONT_SIZE = 13
_TRUTH = (255, 255, 255)
_MASK_OPACITY = 0.4
_POINT_RADIUS = 4

Color = tuple[int, int, int]


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
        self._labels: list[tuple[float, float, float, float]] = []

    def box(self, box: Sequence[float], color: Color, text: str = "", dashed: bool = False) -> None:
        """A box (xyxy) and, in its upper left corner, a label."""
        draw = ImageDraw.Draw(self.image)
        x1, y1, x2, y2 = (value * self.scale for value in box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        for start, end in zip(corners, [*corners[1:], corners[0]]):
            _line(draw, start, end, color, width=1 if dashed else 2, dashed=dashed)
        if text:
            self._label(draw, x1, y1, text, color)

    def mask(self, segmentation: Segmentation, color: Color) -> None:
        """A translucent mask from a COCO segmentation."""
        selected = decode(segmentation, self.size).repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        pixels = np.array(self.image)
        pixels[selected] = (1 - _MASK_OPACITY) * pixels[selected] + _MASK_OPACITY * np.array(color)
        self.image = Image.fromarray(pixels)

    def keypoints(self, keypoints: Tensor, color: Color) -> None:
        """Points [K, 3] of x, y (pixel indices) and visibility: 2 filled, 1 (hidden) hollow, 0 not drawn."""
        draw = ImageDraw.Draw(self.image)
        for *point, visibility in keypoints.tolist():
            if visibility > 0:
                x, y = ((value + 0.5) * self.scale for value in point)
                outline = (x - _POINT_RADIUS, y - _POINT_RADIUS, x + _POINT_RADIUS, y + _POINT_RADIUS)
                draw.ellipse(outline, fill=color if visibility > 1 else None, outline=_contrast(color))

    def heatmap(self, heat: Tensor) -> None:
        """A map [h, w] in 0..1 over the whole image, black where 0."""
        from matplotlib import colormaps

        values = Image.fromarray(heat.cpu().float().clamp(0, 1).numpy()).resize(
            self.image.size, Image.Resampling.BILINEAR
        )
        colors = colormaps["inferno"](np.asarray(values))[..., :3] * 255
        self.image = Image.fromarray((0.4 * np.asarray(self.image) + 0.6 * colors).astype(np.uint8))

    def _label(self, draw: ImageDraw.ImageDraw, x: float, y: float, text: str, color: Color) -> None:
        left, top, right, bottom = draw.textbbox((0, 0), text, font=self._font)
        width, height = right - left + 4, bottom - top + 4
        x = min(max(x, 0), max(0, self.image.width - width))
        y = self._free_row(x, y - height, width, height)
        self._labels.append((x, y, x + width, y + height))
        draw.rectangle((x, y, x + width, y + height), fill=color)
        draw.text((x + 2 - left, y + 2 - top), text, fill=_contrast(color), font=self._font)

    def _free_row(self, x: float, y: float, width: float, height: float) -> float:
        """The nearest place, a few rows up or down, where a label covers no other; ``y`` itself if there is none."""
        rows = [min(max(y + shift * height, 0), self.image.height - height) for shift in (0, -1, 1, -2, 2, -3, 3)]
        for row in rows:
            if not any(
                x < right and left < x + width and row < bottom and top < row + height
                for left, top, right, bottom in self._labels
            ):
                return row
        return rows[0]


def draw_sample(sample: Sample, class_names: Sequence[str]) -> Image.Image:
    """A sample with its annotations: masks, boxes with class names (crowds dashed), keypoints."""
    canvas = Canvas(sample.image)
    colors = [class_color(label) for label in sample.labels.tolist()]
    for i, color in enumerate(colors):
        if sample.masks is not None:
            canvas.mask(sample.masks[i], color)
    for i, color in enumerate(colors):
        crowd = bool(sample.iscrowd[i])
        name = class_names[int(sample.labels[i])]
        canvas.box(sample.boxes[i].tolist(), color, f"{name} (crowd)" if crowd else name, dashed=crowd)
        if sample.keypoints is not None:
            canvas.keypoints(sample.keypoints[i], color)
    return canvas.image


def draw_prediction(
    image: Tensor,
    prediction: Prediction,
    class_names: Sequence[str],
    truth: Sample | None = None,
    min_score: float = 0.3,
) -> Image.Image:
    """An image with predictions of at least ``min_score``, with name and score; true boxes white and dashed."""
    canvas = Canvas(image)
    shown = [i for i, score in enumerate(prediction.scores.tolist()) if score >= min_score]
    colors = {i: class_color(int(prediction.labels[i])) for i in shown}
    for i in shown:
        if prediction.masks is not None:
            canvas.mask(prediction.masks[i], colors[i])
    for box in truth.boxes.tolist() if truth is not None else []:
        canvas.box(box, _TRUTH, dashed=True)
    for i in reversed(shown):  # the best score last, on top
        text = f"{class_names[int(prediction.labels[i])]} {float(prediction.scores[i]):.2f}"
        canvas.box(prediction.boxes[i].tolist(), colors[i], text)
        if prediction.keypoints is not None:
            points = prediction.keypoints[i].clone()
            points[:, 2] = 2  # the third number of a prediction is a score
            canvas.keypoints(points, colors[i])
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


def plot_curves(curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], path: Path, columns: int = 3) -> None:
    """Writes one PNG with a panel per entry of ``curves`` and, in each, a line per name of (step, value) pairs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = max(1, min(columns, len(curves)))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5 * columns, 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, lines) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, index + 1, title=title, xlabel="step")
        for name, points in lines.items():
            steps, values = zip(*points)
            axes.plot(steps, values, label=name, marker="o" if len(points) < 3 else None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)


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


def _contrast(color: Color) -> Color:
    return (0, 0, 0) if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else (255, 255, 255)
