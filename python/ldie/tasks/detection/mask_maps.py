# SPDX-License-Identifier: Apache-2.0
"""From maps of probabilities over the network's input to objects: suppression of masks, and their drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

import ldie_ext
from ldie.config import Count, Positive
from ldie.tasks.detection.masks import Size, select
from ldie.tasks.detection.sample import Prediction

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class MaskPostprocessConfig:
    """Masks with scores to results; systems derive from it."""

    mask_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    nms: Literal["matrix", "greedy"] = "matrix"
    """Suppression of masks of the same class: scores that decay (arXiv:2003.10152, section 3.3), or one by one."""
    kernel: Literal["gaussian", "linear"] = "gaussian"
    """How scores decay."""
    sigma: _Weight = 2.0
    nms_threshold: _Fraction = 0.5
    """Overlap from which the greedy one leaves a mask out."""
    update_threshold: _Fraction = 0.05
    """Of a score at the end."""
    min_pixels: Count = 1
    """Of a mask in the image."""
    detections: Positive = 100
    """Of an image."""


class Frame(NamedTuple):
    """The sizes that masks pass through, (H, W) each."""

    padded: Size
    """Of the network's input."""
    image: Size
    """Of the image inside of it, in the top left corner."""
    file: Size


class Ranking(NamedTuple):
    """K objects, the best first."""

    scores: Tensor  # float [K]
    labels: Tensor  # int64 [K]
    rows: Tensor  # int64 [K], of the maps


def suppress(
    masks: Tensor, width: int | None, labels: Tensor, scores: Tensor, options: MaskPostprocessConfig
) -> tuple[Tensor, Tensor]:
    """Scores at the end and rows int64 [K] of N masks, the best first.

    Args:
        masks: Bool [N,h,w], or uint8 [N,h,ceil(w / 8)], 8 cells a byte, the best first.
        width: w of the latter.
        labels: int64 [N].
        scores: float [N].
        options: Which of the suppressions.
    """
    if options.nms == "matrix":
        scores = ldie_ext.matrix_nms(
            masks, labels, scores, kernel=options.kernel, sigma=options.sigma, packed_width=width
        )
        order = scores.argsort(descending=True, stable=True)
    else:
        order = ldie_ext.mask_nms(masks, labels, scores, options.nms_threshold, packed_width=width)
    order = order[scores[order] >= options.update_threshold][: options.detections]
    return scores[order], order


def draw(
    maps: Tensor,
    rows: Tensor | None,
    frame: Frame,
    threshold: float,
    *,
    packed: bool,
    align_corners: bool = False,
    exclusive: bool = False,
) -> Tensor:
    """Masks of the file from probability maps [R,h,w] of the network's whole input; of single rows of them.

    ``exclusive``: a pixel belongs to the first mask that has it.
    """
    return ldie_ext.composite_masks(
        maps,
        frame.file,
        index=rows,
        threshold=threshold,
        between=frame.padded,
        crop=frame.image,
        align_corners=align_corners,
        exclusive=exclusive,
        packed=packed,
    )


def draw_runs(
    maps: Tensor,
    rows: Tensor | None,
    frame: Frame,
    threshold: float,
    *,
    align_corners: bool = False,
    exclusive: bool = False,
) -> ldie_ext.RLE:
    """The same as run lengths, on the CPU."""
    packed = draw(maps, rows, frame, threshold, packed=True, align_corners=align_corners, exclusive=exclusive)
    return ldie_ext.rle_encode(packed, packed_width=frame.file[1]).to("cpu")


def to_prediction(ranking: Ranking, masks: ldie_ext.RLE, frame: Frame, min_pixels: int) -> Prediction:
    """Objects with their masks in the file; what has too few pixels there is left out."""
    kept = (ldie_ext.rle_area(masks) >= min_pixels).nonzero().flatten()
    boxes = ldie_ext.rle_to_boxes(masks)[kept]
    scores, labels = ranking.scores.cpu()[kept], ranking.labels.cpu()[kept]
    return Prediction(boxes, scores, labels, select(masks, kept), None, frame.file)
