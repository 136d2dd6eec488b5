# SPDX-License-Identifier: Apache-2.0
"""Pictures of proposals: where a model looks for objects, and which ones it cannot find there."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from ldie.tasks.detection.canvas import Canvas
from ldie.tasks.detection.colors import BLACK, GREEN, RED, WHITE, heat_colors
from ldie.tasks.detection.sample import Sample
from ldie_ext import box_iou

SHOWN = 30
"""How many proposals are drawn, the best ones."""
SEARCHED = 100
"""Among how many an object is looked for, as in the best-known recall."""
MIN_OVERLAP = 0.5


def draw_proposals(proposals: Tensor, truth: Sample) -> Image.Image:
    """An image with its best :data:`SHOWN` proposals and its objects.

    Proposals are thin, the best yellow and the last dark. Objects are thick: green where one of the best
    :data:`SEARCHED` proposals overlaps by at least :data:`MIN_OVERLAP` (IoU), else red, each with the greatest overlap.
    Crowds are dashed black and white.

    Args:
        proposals: [P,4], x1 y1 x2 y2, the best first.
        truth: The image, as read, and its objects.
    """
    canvas = Canvas(truth.image)
    boxes = proposals[:SHOWN].tolist()
    for box, color in reversed(list(zip(boxes, heat_colors(len(boxes))))):  # the best on top
        canvas.box(box, color, width=1)
    for box in truth.boxes[truth.iscrowd].tolist():
        canvas.box(box, WHITE, dashed=True, casing=BLACK, width=1)
    objects = truth.boxes[~truth.iscrowd]
    marks = [
        (box, iou, GREEN if iou >= MIN_OVERLAP else RED)
        for box, iou in zip(objects.tolist(), _best(proposals, objects))
    ]
    for box, _, color in marks:
        canvas.box(box, color, casing=BLACK)
    for box, iou, color in marks:
        canvas.label(box, f"{int(iou * 100) / 100:.2f}", color)  # rounded down: 0.497, which is red, is no 0.50
    return canvas.picture()


def _best(proposals: Tensor, objects: Tensor) -> list[float]:
    """The greatest IoU of each object with a proposal, 0 without any."""
    searched = proposals[:SEARCHED].cpu().float()
    if not len(searched):
        return [0.0] * len(objects)
    best: list[float] = box_iou(searched, objects).nan_to_num().amax(dim=0).tolist()
    return best
