# SPDX-License-Identifier: Apache-2.0
"""A sequence of edits done again to a sample's picture: the result, and the picture after every step."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie.tasks.editing.sample import EditSequence
from ldie_ext import EditOp, apply_edits


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
    return _edited(source.cpu().expand(count + 1, -1, -1, -1), ops, params, region)


def replayed(source: Tensor, steps: EditSequence, region: Tensor | None = None) -> Tensor:
    """The picture after all steps, uint8 [3, H, W]; see :func:`after_each_step`."""
    return _edited(source.cpu()[None], steps.ops.cpu()[None], steps.params.cpu()[None], region)[0]


def _edited(images: Tensor, ops: Tensor, params: Tensor, region: Tensor | None) -> Tensor:
    if region is None:
        return apply_edits(images, ops, params)
    return apply_edits(images, ops, params, region.cpu()[None], torch.zeros_like(ops))
