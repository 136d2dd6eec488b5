# SPDX-License-Identifier: Apache-2.0
"""Graphs of models that find maps of masks over the network's whole input."""

from __future__ import annotations

import math

from torch import Tensor

import ldie_ext
from ldie.tasks.detection.agreement import Tolerance
from ldie.tasks.detection.graph import DetectionGraph
from ldie.tasks.detection.mask_maps import Frame, Ranking
from ldie.tasks.detection.masks import Size

_SCORE_TOLERANCE = 0.01
"""By which a score may differ where a probability is at the threshold up to rounding."""


class MaskGraph(DetectionGraph):
    """From whole images of one size to objects with the probability maps of their masks."""

    frame: Frame
    """Of the images."""
    cells: Size
    """(h, w) of the maps."""

    @property
    def tolerance(self) -> Tolerance:
        """See :attr:`DetectionGraph.tolerance`: one cell of a mask more or less changes its mean and overlaps."""
        return Tolerance(boxes=math.inf, scores=_SCORE_TOLERANCE)

    @property
    def details(self) -> dict[str, str]:
        """See :attr:`DetectionGraph.details`."""
        (height, width), (bottom, right) = self.cells, self.frame.image
        whole = " x ".join(map(str, self.frame.padded))
        where = f"over {whole} pixels, the upper left {bottom} x {right} of which are the image"
        return {"masks": f"{height}, {width}], {where}: probabilities that it is the object"}


def with_boxes(masks: Tensor, ranking: Ranking, maps: Tensor, min_pixels: int) -> tuple[Tensor, ...]:
    """Boxes, scores, labels and maps of objects, without those that have too few pixels; masks are bool [K,H,W]."""
    kept = (masks.flatten(1).sum(1) >= min_pixels).nonzero().flatten()
    boxes = ldie_ext.masks_to_boxes(masks, convention="detectron2")
    return boxes[kept], ranking.scores[kept], ranking.labels[kept], maps[kept]
