# SPDX-License-Identifier: Apache-2.0
"""From the head's outputs to objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import ldie_ext
from ldie.nn.precision import full_precision
from ldie.stages import stage
from ldie.systems.solo.config import SOLOConfig
from ldie.systems.solo.head import Outlook, SOLOHead
from ldie.tasks.detection import Prediction, mask_maps
from ldie.tasks.detection.mask_maps import Frame, Ranking
from ldie.tasks.detection.masks import Size

_AT_ONCE = 32
"""Places whose maps are made together: what lies between logits and sums then stays in the caches."""


class Candidates(NamedTuple):
    """N categories of U places, the best first; a place may have several."""

    scores: Tensor  # float [N]
    labels: Tensor  # int64 [N]
    rows: Tensor  # int64 [N], of the U places
    levels: Tensor  # int64 [N]
    places: Sequence[Tensor]  # of each level int64, rows of its grid, rising; U together


class Shapes(NamedTuple):
    """The masks of U places, all in cells of the finest level's maps."""

    maps: Tensor  # float [U,h,w], probabilities
    masks: Tensor  # where these are above the threshold: bool [U,h,w], or uint8 [U,h,ceil(w / 8)]
    width: int | None  # of the latter
    areas: Tensor  # int64 [U]
    sums: Tensor  # float [U], of the probabilities within the mask


def find_objects(head: SOLOHead, outlook: Outlook, image: int, frame: Frame, config: SOLOConfig) -> Prediction:
    """The objects of one image of a batch, in pixels of its file, best first."""
    with stage("candidates"):
        found = candidates(outlook, image, config)
    with stage("mask maps"):
        shapes = packed_shapes(head, outlook, image, found, frame, config)
    with stage("suppression"):
        ranking = suppress(found, shapes, config)
    with stage("drawing"):
        masks = draw_runs(shapes.maps, ranking.rows, frame, config)
        return mask_maps.to_prediction(ranking, masks, frame, config.test.min_pixels)


def candidates(outlook: Outlook, image: int, config: SOLOConfig) -> Candidates:
    """The places whose score for a category is high enough, at most ``test.nms_pre`` scores."""
    test, head = config.test, config.model.head
    scores = torch.cat([_scores(level[image : image + 1], config)[0].flatten(1) for level in outlook.categories], 1).T
    cells, labels = (scores > test.score_thr).nonzero().unbind(1)
    best = scores[cells, labels]
    order = best.argsort(descending=True, stable=True)[: test.nms_pre]
    cells = cells[order]
    used = scores.new_zeros(scores.shape[0], dtype=torch.int64)
    used[cells] = 1
    grids = [side**2 for side in head.grids]
    ends = torch.tensor(grids, device=cells.device).cumsum(0)
    levels = (cells[:, None] >= ends).sum(1)
    places = [own.nonzero().flatten() for own in used.split(grids)]
    return Candidates(best[order], labels[order], used.cumsum(0)[cells] - 1, levels, places)


def _scores(logits: Tensor, config: SOLOConfig) -> Tensor:
    """Probabilities [B,C,S,S] of the classes, 0 where a neighbour's is larger."""
    logits = full_precision(logits)
    softmax = config.model.head.category == "softmax"
    scores = logits.softmax(1)[:, :-1].contiguous() if softmax else logits.sigmoid()
    kernel = config.test.points_nms
    return ldie_ext.points_nms(scores, kernel=kernel) if kernel else scores


def packed_shapes(
    head: SOLOHead, outlook: Outlook, image: int, found: Candidates, frame: Frame, config: SOLOConfig
) -> Shapes:
    """The masks of the candidates' places, 8 cells of a mask a byte; a few places at a time."""
    threshold, size = config.test.mask_threshold, finest_size(frame, config)
    count = sum(map(len, found.places))
    maps = outlook.features[0].new_empty((count, *size), dtype=torch.float32)
    masks = maps.new_empty((count, size[0], -(-size[1] // 8)), dtype=torch.uint8)
    areas, sums = maps.new_empty(count, dtype=torch.int64), maps.new_empty(count)
    for rows, level, logits in _few_logits(head, outlook, image, found):
        maps[rows] = _probabilities(logits, level, frame, config)
        packed = ldie_ext.composite_masks(maps[rows], size, threshold=threshold, packed=True)
        masks[rows], areas[rows] = packed, ldie_ext.mask_centers(packed, packed_width=size[1])[1]
        sums[rows] = sums_above(maps[rows], threshold)
    return Shapes(maps, masks, size[1], areas, sums)


def _few_logits(head: SOLOHead, outlook: Outlook, image: int, found: Candidates) -> Iterator[tuple[slice, int, Tensor]]:
    """The logits of a few places of a level at a time, after their rows among all places and the level."""
    start = 0
    for level, places in enumerate(found.places):
        logits = _logits(head, outlook, image, level, places)
        for few in logits.split(_AT_ONCE) if len(places) else ():
            yield slice(start, start + len(few)), level, few
            start += len(few)


def dense_shapes(
    head: SOLOHead, outlook: Outlook, image: int, found: Candidates, frame: Frame, config: SOLOConfig
) -> Shapes:
    """The same all at once and with a cell a byte, in operators that graphs can hold."""
    threshold = config.test.mask_threshold
    logits = (_logits(head, outlook, image, level, places) for level, places in enumerate(found.places))
    maps = torch.cat([_probabilities(own, level, frame, config) for level, own in enumerate(logits)])
    masks = maps > threshold
    return Shapes(maps, masks, None, masks.flatten(1).sum(1), sums_above(maps, threshold))


def finest_size(frame: Frame, config: SOLOConfig) -> Size:
    """(h, w) of the finest level's maps."""
    stride = min(config.model.head.strides) // 2
    return frame.padded[0] // stride, frame.padded[1] // stride


def _logits(head: SOLOHead, outlook: Outlook, image: int, level: int, places: Tensor) -> Tensor:
    """[n,h,w] of places of a level, as the head gives them."""
    return full_precision(head.image_masks(outlook.features[level][image], level, places))


def _probabilities(logits: Tensor, level: int, frame: Frame, config: SOLOConfig) -> Tensor:
    """Probabilities [n,h,w] of logits of a level, in the size of the finest level's maps."""
    options = config.model.head
    twice = tuple(2 * side // options.strides[level] for side in frame.padded)
    if options.sigmoid_after_up:
        own = _resized(logits, twice, options.align_corners).sigmoid()
    else:
        own = _resized(logits.sigmoid(), twice, options.align_corners)
    return _resized(own, finest_size(frame, config), options.align_corners)


def _resized(maps: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    if maps.shape[1:] == size:
        return maps
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=align_corners)[:, 0]


def sums_above(maps: Tensor, threshold: float) -> Tensor:
    """Sums [n] of what is above a threshold in maps [n,h,w]."""
    return functional.threshold(maps, threshold, 0.0).flatten(1).sum(1)


def suppress(found: Candidates, shapes: Shapes, config: SOLOConfig) -> Ranking:
    """What stays, by the scores at the end."""
    test = config.test
    scores, areas = found.scores, shapes.areas[found.rows]
    if test.maskness:
        scores = scores * (shapes.sums[found.rows] / areas.clamp(min=1))
    strides = torch.tensor(config.model.head.strides, device=areas.device)
    kept = (areas > (strides[found.levels] if test.min_area == "stride" else 0)).nonzero().flatten()
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    scores, labels, rows = scores[kept], found.labels[kept], found.rows[kept]
    scores, order = mask_maps.suppress(shapes.masks[rows], shapes.width, labels, scores, test)
    return Ranking(scores, labels[order], rows[order])


def draw(maps: Tensor, rows: Tensor | None, frame: Frame, config: SOLOConfig) -> Tensor:
    """Bool masks of the file from probability maps [R,h,w], of the network's whole input; of single rows of them."""
    align = config.model.head.align_corners
    return mask_maps.draw(maps, rows, frame, config.test.mask_threshold, packed=False, align_corners=align)


def draw_runs(maps: Tensor, rows: Tensor | None, frame: Frame, config: SOLOConfig) -> ldie_ext.RLE:
    """The same as run lengths, on the CPU."""
    align = config.model.head.align_corners
    return mask_maps.draw_runs(maps, rows, frame, config.test.mask_threshold, align_corners=align)
