# SPDX-License-Identifier: Apache-2.0
"""Sequences of edits done to pictures: the result, the picture after every step, a recipe for others."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSample, EditSequence
from ldie_ext import EditOp, Recipe, apply_edits


def after_each_step(source: Tensor, steps: EditSequence, region: Tensor | None = None) -> Tensor:
    """The picture before any step and after each: uint8 [K + 1, 3, H, W].

    Each is computed from the source, rounded to bytes once, so that the last one is what all steps together make.

    Args:
        source: uint8 [3, H, W].
        steps: K of them.
        region: bool [H, W], where they act; None: everywhere.
    """
    count = len(steps)
    kept = torch.ones(count + 1, count, dtype=torch.bool).tril(-1)  # row k: the first k steps
    ops = torch.where(kept, steps.ops.cpu(), torch.tensor(int(EditOp.NONE)))
    params = steps.params.cpu().expand(count + 1, -1, -1)
    regions = None if region is None else region.cpu().expand(count + 1, -1, -1)
    return edited_batch(source.cpu().expand(count + 1, -1, -1, -1), ops, params, regions)


def replayed(source: Tensor, steps: EditSequence, region: Tensor | None = None) -> Tensor:
    """The picture after all steps, uint8 [3, H, W]; see :func:`after_each_step`."""
    if not len(steps):
        return source
    regions = None if region is None else region.cpu()[None]
    return edited_batch(source.cpu()[None], steps.ops.cpu()[None], steps.params.cpu()[None], regions)[0]


def picture_of(given: EditSample | EditInput, prediction: EditPrediction) -> Tensor | None:
    """What a prediction makes of a picture, uint8 [3, H, W]; None where it says nothing about that."""
    if prediction.image is not None or prediction.steps is None:
        return prediction.image
    source = given.source if isinstance(given, EditSample) else given.image
    return replayed(source, prediction.steps, given.region)


def edited_batch(images: Tensor, ops: Tensor, params: Tensor, regions: Tensor | None) -> Tensor:
    """What each picture's own steps make of it; differentiable in pictures and parameters.

    Args:
        images: [B, 3, H, W], RGB, uint8 or float in [0, 1].
        ops: int64 [B, K], padded by ``NONE``.
        params: float [B, K, 24].
        regions: bool [B, H, W], where each picture's steps act; None: everywhere.
    """
    if regions is None:
        return apply_edits(images, ops, params)
    places = torch.arange(len(images), device=images.device)[:, None].expand_as(ops)
    return apply_edits(images, ops, params, regions, places)


def recipe_of(steps: EditSequence, image: Tensor, region: Tensor | None = None) -> Recipe:
    """The steps as a recipe for a picture uint8 [3, H, W] and pictures like it."""
    if region is None:
        return Recipe.from_edits(steps.ops, steps.params, source=image)
    places = torch.zeros(len(steps), dtype=torch.int64)
    return Recipe.from_edits(steps.ops, steps.params, region[None], places, source=image)
