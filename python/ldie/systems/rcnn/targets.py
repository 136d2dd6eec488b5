# SPDX-License-Identifier: Apache-2.0
"""What anchors and proposals are to learn: matching and sampling, over the whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import ldie_ext
from ldie.systems.rcnn.batch import Batch
from ldie.systems.rcnn.config import BoxHeadConfig, ProposalConfig
from ldie.systems.rcnn.regions import Regions
from ldie.tasks.detection.whole_images import Convention

_MIX = (0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64, 0x165667B19E3779F9)
"""Odd numbers that spread what they multiply over 64 bits."""
_LEAST = 1e-3
"""Pixels that an object is at least wide and high, as proposals are."""


def sampling_seeds(ids: Tensor, seed: int, step: int, draw: int) -> Tensor:
    """int64 [B]: a seed for the samples of each image; the same on any number of processes.

    Args:
        ids: int64 [B], of the images.
        seed: Of the run.
        step: Of training.
        draw: Which of the step's draws.
    """
    key = (seed * 1_000_003 + step * 4 + draw) % 2**62
    return (ids * _MIX[0] + (key * _MIX[2]) % 2**62) * _MIX[1]


@dataclass(frozen=True)
class AnchorTargets:
    """Of S sampled anchors of each of B images."""

    index: Tensor  # int64 [B,S], 0 where unused
    used: Tensor  # bool [B,S]
    positive: Tensor  # bool [B,S]
    deltas: Tensor  # float [B,S,4], 0 where not positive


def anchor_targets(
    anchors: Tensor, batch: Batch, config: ProposalConfig, convention: Convention, seeds: Tensor
) -> AnchorTargets:
    """Anchors to learn objectness from, and the boxes of the objects that the positive ones are for.

    Objects without area have no part in it.
    """
    matches = _match(batch, anchors, config.high, config.low, convention, every_object=True)
    sampled, positive, _ = ldie_ext.sample_labels(matches, config.samples, config.positive_fraction, seeds)
    index = sampled.clamp(min=0)
    reference = batch.padded_boxes[_rows(matches, index, positive, batch)]
    deltas = ldie_ext.encode_boxes(reference.flatten(0, 1), anchors[index].flatten(0, 1)).view_as(reference)
    return AnchorTargets(index, sampled >= 0, positive, deltas.where(positive[..., None], 0))


def sample_regions(
    proposals: Tensor,
    counts: Tensor,
    batch: Batch,
    config: BoxHeadConfig,
    convention: Convention,
    classes: int,
    seeds: Tensor,
) -> Regions:
    """Proposals and objects' own boxes to learn classes from; the first of each image are those of objects.

    Objects without area have no part in it.

    Args:
        proposals: float [B,P,4].
        counts: int64 [B], how many of them there are.
        batch: With objects.
        config: Of the head.
        convention: For boxes with NaN.
        classes: Number of classes, which is the label of background.
        seeds: int64 [B].
    """
    places, own = torch.arange(proposals.shape[1], device=proposals.device), batch.padded_boxes[batch.slots]
    exists = torch.cat([places < counts[:, None], _is_there(own)], 1)
    candidates = torch.cat([proposals, own.to(proposals.dtype)], 1)
    matches = _match(batch, candidates, config.threshold, config.threshold, convention).where(exists, -2)
    sampled, positive, _ = ldie_ext.sample_labels(matches, config.samples, config.positive_fraction, seeds)
    index = sampled.clamp(min=0)
    rows = _rows(matches, index, positive, batch)
    labels = torch.cat([batch.labels, batch.labels.new_full((1,), classes)])
    offsets = torch.arange(len(index) + 1, device=index.device) * config.samples
    boxes = candidates.gather(1, index[..., None].expand(-1, -1, 4))
    return Regions(boxes.flatten(0, 1), offsets, labels[rows].flatten(), rows.flatten(), (sampled >= 0).flatten())


def _match(
    batch: Batch, candidates: Tensor, high: float, low: float, convention: Convention, every_object: bool = False
) -> Tensor:
    """Int64 [B,A] of :func:`ldie_ext.match_boxes`.

    An object that is too small to overlap anything would be given to all candidates alike.
    """
    matches, _ = ldie_ext.match_boxes(
        batch.boxes,
        batch.offsets,
        candidates,
        high,
        low,
        allow_low_quality=every_object,
        convention=convention,
        crowd=~_is_there(batch.boxes),
    )
    return matches


def _is_there(boxes: Tensor) -> Tensor:
    """Bool [...]: which of the boxes [...,4] are large enough to learn from."""
    return (boxes[..., 2:] - boxes[..., :2] >= _LEAST).all(-1)


def _rows(matches: Tensor, index: Tensor, positive: Tensor, batch: Batch) -> Tensor:
    """The objects [B,S] that samples were matched to; their number for none."""
    rows = matches.gather(1, index) + batch.offsets[:-1, None]
    return rows.where(positive, len(batch.boxes))
