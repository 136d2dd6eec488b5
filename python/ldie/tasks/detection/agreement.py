# SPDX-License-Identifier: Apache-2.0
"""Whether two programs for one model find the same, up to rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import ldie_ext
from ldie.errors import ExportError
from ldie.tasks.detection.masks import Masks, select, to_bitmaps, to_rle
from ldie.tasks.detection.sample import Prediction

BOX_TOLERANCE = 0.1
"""Pixels by which a corner may differ."""
SCORE_TOLERANCE = 1e-4
"""By which a score may differ."""
MASK_TOLERANCE = 0.01
"""Part of a mask's pixels that may differ, beside :data:`MASK_PIXELS`."""
MASK_PIXELS = 4
"""Pixels of a mask that may differ whatever its size."""
KEYPOINT_TOLERANCE = 0.1
"""Pixels by which a keypoint may differ, and its score."""


class Tolerance(NamedTuple):
    """How far objects may be apart and yet be the same."""

    boxes: float = BOX_TOLERANCE
    """Infinite where boxes are those of masks, which are paired instead: a single pixel may move them anywhere."""
    scores: float = SCORE_TOLERANCE


_ROUNDING = Tolerance()


def agreement(
    expected: Sequence[Prediction],
    found: Sequence[Prediction],
    slots: int,
    floor: float = 0.0,
    tolerance: Tolerance = _ROUNDING,
) -> str:
    """How near predictions are to others.

    Objects are compared in pairs, for rounding exchanges some of nearly equal score. For the same reason those at a
    limit may be others: no better than the weakest where their number has cut the rest off, else than ``floor``.

    Args:
        expected: Of each image.
        found: What a file finds in it.
        slots: The largest number of objects of an image.
        floor: Score that an object needs.
        tolerance: Of what the two compute.

    Raises:
        ExportError: Naming an object that only one of them has, or that is another one.
    """
    pairs, total, distances = 0, 0, {"boxes": 0.0, "scores": 0.0}
    for ours, theirs in zip(expected, found, strict=True):
        rows, columns = _pairs(ours, theirs, tolerance)
        weakest = _weakest(ours, theirs, slots, floor) + tolerance.scores
        _check_unpaired(ours, weakest, rows, "the file does not find")
        _check_unpaired(theirs, weakest, columns, "only the file finds")
        pairs, total = pairs + len(rows), total + max(len(ours.boxes), len(theirs.boxes))
        if len(rows):
            for name, distance in _distances(ours, theirs, rows, columns).items():
                distances[name] = max(distances.get(name, 0.0), distance)
    if total and not pairs:
        raise ExportError("none of its detections is the model's")
    units = {"scores": "", "masks": " pixels"}
    near = ", ".join(f"{name} within {value:.1g}{units.get(name, ' px')}" for name, value in distances.items())
    return f"{pairs} of {total} detections the same, {near}"


def _pairs(ours: Prediction, theirs: Prediction, tolerance: Tolerance) -> tuple[Tensor, Tensor]:
    """Rows of objects that are the same, one to one: same label, score and box within the tolerances."""
    differences = (ours.scores[:, None] - theirs.scores).abs()
    same = (differences <= tolerance.scores) & (ours.labels[:, None] == theirs.labels)
    if math.isinf(tolerance.boxes):
        assert ours.masks is not None and theirs.masks is not None
        drawn = to_rle(ours.masks, ours.size), to_rle(theirs.masks, ours.size)
        distances = 1 - ldie_ext.mask_iou(*drawn, size=ours.size)
    else:
        distances = (ours.boxes[:, None] - theirs.boxes).abs().amax(2)
        same &= distances <= tolerance.boxes
    distances = distances + differences  # which tell equal ones apart
    pairs = []
    for row in range(len(same)):
        if same[row].any():
            column = int(distances[row].where(same[row], torch.inf).argmin())
            pairs.append((row, column))
            same[:, column] = False
    rows, columns = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return rows, columns


def _weakest(ours: Prediction, theirs: Prediction, slots: int, floor: float) -> float:
    """The score at which objects are cut off."""
    full = [float(each.scores.min()) for each in (ours, theirs) if 0 < len(each.scores) >= slots]
    return min(full, default=floor)


def _check_unpaired(objects: Prediction, weakest: float, paired: Tensor, who: str) -> None:
    alone = torch.ones(len(objects.scores), dtype=torch.bool)
    alone[paired] = False
    lost = (alone & (objects.scores > weakest)).nonzero().flatten().tolist()
    if lost:
        raise ExportError(f"{who} {_named(objects, lost[0])}")


def _distances(ours: Prediction, theirs: Prediction, rows: Tensor, columns: Tensor) -> dict[str, float]:
    """The greatest differences within pairs of objects, by what they are of."""
    found = {
        "boxes": (ours.boxes[rows] - theirs.boxes[columns]).abs().amax(),
        "scores": (ours.scores[rows] - theirs.scores[columns]).abs().amax(),
    }
    for name in ("masks", "keypoints"):
        if (getattr(ours, name) is None) != (getattr(theirs, name) is None):
            raise ExportError(f"only one of them has {name}")
    if ours.masks is not None and theirs.masks is not None:
        found["masks"] = _mask_distance(ours.masks, theirs.masks, ours, rows, columns)
    if ours.keypoints is not None and theirs.keypoints is not None:
        apart = (ours.keypoints[rows] - theirs.keypoints[columns]).abs().flatten(1).amax(1)
        found["keypoints"] = apart.amax()
        if not found["keypoints"] <= KEYPOINT_TOLERANCE:
            raise ExportError(f"the file has other keypoints for {_named(ours, int(rows[apart.argmax()]))}")
    return {name: float(value) for name, value in found.items()}


def _mask_distance(mine: Masks, others: Masks, ours: Prediction, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels that are in one mask of a pair only, at most; masks are drawn one by one, for images may be large."""
    most = torch.zeros((), dtype=torch.int64)
    for row, column in zip(rows.split(1), columns.split(1)):
        mask = to_bitmaps(select(mine, row), ours.size)
        apart = (mask ^ to_bitmaps(select(others, column), ours.size)).sum()
        if apart > MASK_PIXELS + MASK_TOLERANCE * mask.sum():
            raise ExportError(f"the file has another mask for {_named(ours, int(row))}")
        most = torch.maximum(most, apart)
    return most


def _named(objects: Prediction, row: int) -> str:
    box = ", ".join(f"{corner:.1f}" for corner in objects.boxes[row].tolist())
    return f"label {int(objects.labels[row])}, score {float(objects.scores[row]):.3f}, box {box}"
