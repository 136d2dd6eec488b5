# SPDX-License-Identifier: Apache-2.0
"""From the hypotheses of the last level to objects."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

import ldie_ext
from ldie.stages import stage
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, at_places
from ldie.systems.mask_pyramid.score import Opinion
from ldie.tasks.detection import Prediction, mask_maps
from ldie.tasks.detection.mask_maps import Frame, Ranking


class Scored(NamedTuple):
    """A hypotheses of each of B images; what is not alive has score 0."""

    maps: Tensor  # float [B,A,h,w], probabilities
    scores: Tensor  # float [B,A]
    labels: Tensor  # int64 [B,A]


def scored(hypotheses: Hypotheses, opinion: Opinion, stride: int, config: MaskPyramidConfig) -> Scored:
    """The probability of the class, times what ``model.score`` says."""
    options, (seeds, masks) = config.model.score, hypotheses
    maps = masks.logits.sigmoid()
    scores, labels = opinion.classes.softmax(2)[..., :-1].max(2)
    if options.maskness:
        inside = (maps > config.test.mask_threshold).to(maps.dtype)
        scores = scores * (maps * inside).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
    if options.root_power:
        scores = scores * at_places(maps, seeds.places, stride) ** options.root_power
    if opinion.overlaps is not None:
        scores = scores * opinion.overlaps.sigmoid()
    return Scored(maps, scores.where(seeds.alive, 0.0), labels)


def ranked(own: Scored, image: int, config: MaskPyramidConfig) -> Ranking:
    """The objects of an image, after suppression; rows are of its hypotheses."""
    test = config.test
    scores = own.scores[image]
    rows = (scores > test.score_thr).nonzero().flatten()
    rows = rows[scores[rows].argsort(descending=True, stable=True)]
    labels = own.labels[image, rows]
    masks = own.maps[image, rows] > test.mask_threshold
    final, order = mask_maps.suppress(masks, None, labels, scores[rows], test)
    return Ranking(final, labels[order], rows[order])


def find_objects(own: Scored, image: int, frame: Frame, config: MaskPyramidConfig) -> Prediction:
    """The objects of one image of a batch, in pixels of its file, best first."""
    with stage("suppression"):
        ranking = ranked(own, image, config)
    with stage("drawing"):
        masks = draw_runs(own.maps[image], ranking.rows, frame, config)
        return mask_maps.to_prediction(ranking, masks, frame, config.test.min_pixels)


def draw_runs(maps: Tensor, rows: Tensor | None, frame: Frame, config: MaskPyramidConfig) -> ldie_ext.RLE:
    """Masks of the file from maps [R,h,w], the best first."""
    return mask_maps.draw_runs(maps, rows, frame, config.test.mask_threshold, exclusive=config.test.paint)
