# SPDX-License-Identifier: Apache-2.0
"""Whether a prediction is what another implementation gives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from ldie.tasks.detection import Prediction
from ldie.tasks.detection.masks import to_bitmaps
from torch import Tensor


class Expected(NamedTuple):
    """Another implementation's objects of an image."""

    boxes: Tensor  # [N,4]
    scores: Tensor  # [N]
    labels: Tensor  # [N], ours
    masks: Tensor | None  # bool [N,H,W]
    keypoints: Tensor | None  # [N,K,3], pixel indices as ours


def assert_agree(found: Prediction, expected: Expected, *, scores: float = 1e-4) -> None:
    """The same objects: boxes to 0.01 pixels, scores, labels, masks to an IoU of 0.99, keypoints to 0.1 pixels.

    Best first; two whose scores rounding cannot tell apart may change places.
    """
    assert len(found.boxes) == len(expected.boxes)
    assert (found.scores.diff() <= 0).all()
    apart = torch.cdist(found.boxes, expected.boxes, p=torch.inf)
    apart = apart.where(found.labels[:, None] == expected.labels, torch.inf)
    distance, order = apart.min(1)
    assert distance.max() <= 1e-2 and order.unique().numel() == len(order)
    torch.testing.assert_close(found.scores, expected.scores[order], rtol=0, atol=scores)
    assert (found.masks is None) == (expected.masks is None)
    if found.masks is not None and expected.masks is not None:
        ours, theirs = to_bitmaps(found.masks, found.size).bool(), expected.masks[order]
        union = (ours | theirs).flatten(1).sum(1)
        overlap = (ours & theirs).flatten(1).sum(1) / union.clamp(min=1)
        assert overlap[union > 0].min() >= 0.99
    assert (found.keypoints is None) == (expected.keypoints is None)
    if found.keypoints is not None and expected.keypoints is not None:
        theirs = expected.keypoints[order]
        torch.testing.assert_close(found.keypoints[..., :2], theirs[..., :2], rtol=0, atol=0.1)
        torch.testing.assert_close(found.keypoints[..., 2], theirs[..., 2], rtol=1e-3, atol=1e-3)
