# SPDX-License-Identifier: Apache-2.0
"""Pictures of samples and predictions: boxes, names, scores, masks, keypoints, crowds, heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ldie.files import write_whole
from ldie.tasks.detection.canvas import MAX_SIDE, Canvas, Skeleton
from ldie.tasks.detection.colors import BLACK, WHITE, Color, instance_colors
from ldie.tasks.detection.fonts import legible_names
from ldie.tasks.detection.masks import Masks, select, to_bitmaps
from ldie.tasks.detection.sample import Prediction, Sample

SURE_POINT = 0.05
"""Score from which a keypoint is drawn filled: for a probability over the cells of a heatmap that is a clear peak."""


def draw_sample(sample: Sample, class_names: Sequence[str], skeleton: Skeleton = ()) -> Image.Image:
    """A sample with its annotations: masks, keypoints, boxes with class names; crowds are hatched and dashed."""
    canvas, names = Canvas(sample.image), legible_names(class_names)
    areas = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(dim=1)
    order = areas.argsort(descending=True, stable=True).tolist()  # the small on top of the large
    colors = instance_colors(sample.labels, sample.boxes)
    crowds = sample.iscrowd.tolist()
    if sample.masks is not None:
        for i in order:
            canvas.mask(_bitmap(sample.masks, i, canvas.size), colors[i], hatched=crowds[i])
    for i in order:
        canvas.box(sample.boxes[i].tolist(), colors[i], dashed=crowds[i])
        if sample.keypoints is not None:
            canvas.keypoints(sample.keypoints[i], colors[i], skeleton)
    for i in order:
        name = names[int(sample.labels[i])]
        canvas.label(sample.boxes[i].tolist(), name, colors[i], detail=_crowd(crowds[i]))
    return canvas.picture()


def draw_prediction(
    image: Tensor,
    prediction: Prediction,
    class_names: Sequence[str],
    truth: Sample | None = None,
    min_score: float = 0.3,
    skeleton: Skeleton = (),
) -> Image.Image:
    """An image with predictions of at least ``min_score``, with name and score.

    Keypoints that the model is not sure of (a score below :data:`SURE_POINT`) are hollow and have no bones. True boxes
    are black with white dashes, and their names, without a score, white on black below them; true keypoints are white.
    """
    canvas, names = Canvas(image), legible_names(class_names)
    shown = [i for i, score in enumerate(prediction.scores.tolist()) if score >= min_score]
    colors = instance_colors(prediction.labels, prediction.boxes)
    if prediction.masks is not None:
        for i in shown:
            canvas.mask(_bitmap(prediction.masks, i, canvas.size), colors[i])
    if truth is not None:
        for box in truth.boxes.tolist():
            canvas.box(box, WHITE, dashed=True, casing=BLACK, width=1)
        for keypoints in () if truth.keypoints is None else truth.keypoints:
            canvas.keypoints(keypoints, WHITE)
    for i in reversed(shown):  # the best score last, on top
        canvas.box(prediction.boxes[i].tolist(), colors[i])
        if prediction.keypoints is not None:
            _draw_points(canvas, prediction.keypoints[i], colors[i], skeleton)
    for i in shown:
        name, score = names[int(prediction.labels[i])], float(prediction.scores[i])
        canvas.label(prediction.boxes[i].tolist(), name, colors[i], detail=f" {score:.2f}")
    if truth is not None:
        for box, label, crowd in zip(truth.boxes.tolist(), truth.labels.tolist(), truth.iscrowd.tolist()):
            canvas.label(box, names[label], BLACK, detail=_crowd(crowd), below=True)
    return canvas.picture()


def draw_heatmap(image: Tensor, heat: Tensor) -> Image.Image:
    """An image under a heatmap [h, w] in 0..1."""
    canvas = Canvas(image)
    canvas.heatmap(heat)
    return canvas.picture()


def grid(pictures: Sequence[Image.Image], columns: int = 4, gap: int = 6) -> Image.Image:
    """Pictures side by side on a white sheet, row by row, each row as high as its highest picture.

    Pictures are shrunk where the sheet would be wider or higher than ``MAX_SIDE``.
    """
    columns = max(1, min(columns, len(pictures)))
    room = max(1, MAX_SIDE // columns - 2 * gap), max(1, MAX_SIDE // -(-len(pictures) // columns) - 2 * gap)
    pictures = [_shrunk(picture, room) for picture in pictures]
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


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG; it appears whole or not at all."""
    write_whole(path, lambda temporary: picture.save(temporary, "PNG"))


def _draw_points(canvas: Canvas, keypoints: Tensor, color: Color, skeleton: Skeleton) -> None:
    """Predicted keypoints [J,3] of x, y and score."""
    sure = keypoints[:, 2] >= SURE_POINT
    points = torch.cat([keypoints[:, :2], 1.0 + sure[:, None]], dim=1)
    canvas.keypoints(points, color, [(a, b) for a, b in skeleton if sure[a] and sure[b]])


def _shrunk(picture: Image.Image, room: tuple[int, int]) -> Image.Image:
    """A picture that is no wider and no higher than there is room for it."""
    factor = min(room[0] / picture.width, room[1] / picture.height)
    if factor >= 1:
        return picture
    size = max(1, int(picture.width * factor)), max(1, int(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _bitmap(masks: Masks, index: int, size: tuple[int, int]) -> Tensor:
    """One mask, bool [H,W]: those of all objects at once may not fit into memory."""
    return to_bitmaps(select(masks, torch.tensor([index])), size)[0]


def _crowd(is_crowd: bool) -> str:
    return " (crowd)" if is_crowd else ""
