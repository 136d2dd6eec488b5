# SPDX-License-Identifier: Apache-2.0
"""From the head's outputs to objects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import ldie_ext
from ldie.nn.precision import full_precision
from ldie.systems.solo.config import SOLOConfig
from ldie.systems.solo.head import Outlook, SOLOHead
from ldie.tasks.detection import Prediction
from ldie.tasks.detection.masks import Size, select


class Frame(NamedTuple):
    """The sizes that masks pass through, (H, W) each."""

    padded: Size
    """Of the network's input."""
    image: Size
    """Of the image inside of it, in the top left corner."""
    file: Size


class Candidates(NamedTuple):
    """N places with a category, the best first."""

    scores: Tensor  # float [N]
    labels: Tensor  # int64 [N]
    levels: Tensor  # int64 [N]
    places: Tensor  # int64 [N], rows of the level's grid


def find_objects(head: SOLOHead, outlook: Outlook, image: int, frame: Frame, config: SOLOConfig) -> Prediction:
    """The objects of one image of a batch, in pixels of its file, best first."""
    test = config.test
    found = candidates(outlook, image, config)
    maps = probability_maps(head, outlook, image, found, frame, config)
    scores, labels, maps = suppress(found, maps, config)
    size = frame.file
    masks = ldie_ext.composite_masks(
        maps,
        size,
        threshold=test.mask_threshold,
        between=frame.padded,
        crop=frame.image,
        align_corners=config.model.head.align_corners,
        rle=True,
    )
    runs = ldie_ext.RLE(masks.counts.cpu(), masks.offsets.cpu(), masks.sizes.cpu())
    kept = (ldie_ext.rle_area(runs) >= test.min_pixels).nonzero().flatten()
    boxes = ldie_ext.rle_to_boxes(runs)[kept]
    return Prediction(boxes, scores.cpu()[kept], labels.cpu()[kept], select(runs, kept), None, size)


def candidates(outlook: Outlook, image: int, config: SOLOConfig) -> Candidates:
    """The places whose score for a category is high enough, at most ``test.nms_pre``; one may have several."""
    test, head = config.test, config.model.head
    scores = torch.cat([_scores(level[image : image + 1], config)[0].flatten(1) for level in outlook.categories], 1).T
    grid = torch.tensor([side**2 for side in head.grids], device=scores.device)
    cells, labels = (scores > test.score_thr).nonzero().unbind(1)
    best = scores[cells, labels]
    order = best.argsort(descending=True, stable=True)[: test.nms_pre]
    cells, ends = cells[order], grid.cumsum(0)
    levels = torch.bucketize(cells, ends, right=True)
    return Candidates(best[order], labels[order], levels, cells - (ends - grid)[levels])


def _scores(logits: Tensor, config: SOLOConfig) -> Tensor:
    """Probabilities [B,C,S,S] of the classes, 0 where a neighbour's is larger."""
    logits = full_precision(logits)
    softmax = config.model.head.category == "softmax"
    scores = logits.softmax(1)[:, :-1].contiguous() if softmax else logits.sigmoid()
    kernel = config.test.points_nms
    return ldie_ext.points_nms(scores, kernel=kernel) if kernel else scores


def probability_maps(
    head: SOLOHead, outlook: Outlook, image: int, found: Candidates, frame: Frame, config: SOLOConfig
) -> Tensor:
    """Probabilities [N,h,w] of the candidates' masks, for all levels in the size of the finest one's."""
    options = config.model.head
    finest = min(options.strides) // 2
    size = (frame.padded[0] // finest, frame.padded[1] // finest)
    maps = outlook.features[0].new_empty((len(found.scores), *size), dtype=torch.float32)
    for level, features in enumerate(outlook.features):
        rows = (found.levels == level).nonzero().flatten()
        logits = full_precision(head.masks(features[image : image + 1], level, [len(rows)], found.places[rows]))
        twice = tuple(2 * frame.padded[axis] // options.strides[level] for axis in (0, 1))
        own = _upsampled(logits, twice, options.align_corners, first=options.sigmoid_after_up)
        maps[rows] = _resized(own, size, options.align_corners)
    return maps


def _upsampled(logits: Tensor, size: tuple[int, ...], align_corners: bool, *, first: bool) -> Tensor:
    """Probabilities of logits [n,h,w] in another size: interpolated first, or made probabilities first."""
    if first:
        return _resized(logits, size, align_corners).sigmoid()
    return _resized(logits.sigmoid(), size, align_corners)


def _resized(maps: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    if maps.shape[1:] == size or not len(maps):
        return maps.new_empty(0, *size) if not len(maps) else maps
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=align_corners)[:, 0]


def suppress(found: Candidates, maps: Tensor, config: SOLOConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, labels and maps of what stays, best first."""
    test = config.test
    masks = maps > test.mask_threshold
    areas = masks.flatten(1).sum(1)
    scores, labels = found.scores, found.labels
    if test.maskness:
        scores = scores * (maps * masks).flatten(1).sum(1) / areas.clamp(min=1)
    least = (
        torch.tensor(config.model.head.strides, device=maps.device)[found.levels] if test.min_area == "stride" else 0
    )
    kept = (areas > least).nonzero().flatten()
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    scores, labels, maps, masks = scores[kept], labels[kept], maps[kept], masks[kept]
    if test.nms == "matrix":
        scores = ldie_ext.matrix_nms(masks, labels, scores, kernel=test.kernel, sigma=test.sigma)
        order = scores.argsort(descending=True, stable=True)
    else:
        order = ldie_ext.mask_nms(masks, labels, scores, test.nms_threshold)
    order = order[scores[order] >= test.update_threshold][: test.detections]
    return scores[order], labels[order], maps[order]
