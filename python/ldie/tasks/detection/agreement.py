# SPDX-License-Identifier: Apache-2.0
"""Whether two programs for one model find the same, up to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ldie.errors import ExportError
from ldie.tasks.detection.sample import Prediction

BOX_TOLERANCE = 0.1
"""Pixels by which a corner may differ."""
SCORE_TOLERANCE = 1e-4


class _Objects(NamedTuple):
    """Of one image."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def agreement(expected: Sequence[Prediction], found: Sequence[Tensor]) -> str:
    """How near the boxes, scores and labels of a graph are to predictions.

    Objects are compared in pairs, for rounding exchanges some of nearly equal score. For the same reason those that are
    no better than the weakest may be others: there the number of objects has cut the rest off.

    Args:
        expected: Of each image.
        found: A graph's outputs (see :class:`ldie.tasks.detection.graph.DetectionGraph`).

    Raises:
        ExportError: Naming an object that only one of them has.
    """
    pairs, total, box, score = 0, 0, 0.0, 0.0
    for prediction, boxes, scores, labels in zip(expected, *found, strict=True):
        used = labels >= 0
        ours = _Objects(prediction.boxes, prediction.scores, prediction.labels)
        theirs = _Objects(boxes[used], scores[used], labels[used])
        rows, columns = _pairs(ours, theirs)
        _check_unpaired(ours, theirs, rows, "the file does not find")
        _check_unpaired(theirs, ours, columns, "only the file finds")
        pairs, total = pairs + len(rows), total + max(len(ours.boxes), len(theirs.boxes))
        if len(rows):
            box = max(box, float((ours.boxes[rows] - theirs.boxes[columns]).abs().max()))
            score = max(score, float((ours.scores[rows] - theirs.scores[columns]).abs().max()))
    if total and not pairs:
        raise ExportError("none of its detections is the model's")
    return f"{pairs} of {total} detections the same, boxes within {box:.1g} px, scores within {score:.1g}"


def _pairs(ours: _Objects, theirs: _Objects) -> tuple[Tensor, Tensor]:
    """Rows of objects that are the same, one to one: same label, score and box within the tolerances."""
    distances = (ours.boxes[:, None] - theirs.boxes).abs().amax(2)
    same = (distances <= BOX_TOLERANCE) & (ours.labels[:, None] == theirs.labels)
    same &= (ours.scores[:, None] - theirs.scores).abs() <= SCORE_TOLERANCE
    pairs = []
    for row in range(len(same)):
        if same[row].any():
            column = int(distances[row].where(same[row], torch.inf).argmin())
            pairs.append((row, column))
            same[:, column] = False
    rows, columns = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return rows, columns


def _check_unpaired(objects: _Objects, others: _Objects, paired: Tensor, who: str) -> None:
    alone = torch.ones(len(objects.scores), dtype=torch.bool)
    alone[paired] = False
    weakest = min((float(each.scores.min()) for each in (objects, others) if len(each.scores)), default=0.0)
    lost = (alone & (objects.scores > weakest + SCORE_TOLERANCE)).nonzero().flatten().tolist()
    if lost:
        box = ", ".join(f"{corner:.1f}" for corner in objects.boxes[lost[0]].tolist())
        what = f"label {int(objects.labels[lost[0]])}, score {float(objects.scores[lost[0]]):.3f}, box {box}"
        raise ExportError(f"{who} {what}")
