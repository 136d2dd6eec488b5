# SPDX-License-Identifier: Apache-2.0
"""Steps carried out: on one picture of any size, or on a batch of one size."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie.tasks.editing.sample import EditSequence
from ldie_ext import Recipe, apply_edits


def edited(image: Tensor, steps: EditSequence, region: Tensor | None = None) -> Tensor:
    """What steps make of a picture.

    Args:
        image: uint8 [3, H, W], RGB.
        steps: One after the other.
        region: bool [H, W], where they act; None: everywhere.

    Returns:
        uint8 [3, H, W].
    """
    if not len(steps):
        return image
    if region is None:
        return apply_edits(image[None], steps.ops[None], steps.params[None])[0]
    places = torch.zeros(1, len(steps), dtype=torch.int64)
    return apply_edits(image[None], steps.ops[None], steps.params[None], region[None], places)[0]


def edited_batch(images: Tensor, ops: Tensor, params: Tensor, regions: Tensor | None) -> Tensor:
    """What each picture's own steps make of it; differentiable in pictures and parameters.

    Args:
        images: float [B, 3, H, W], RGB in [0, 1].
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
