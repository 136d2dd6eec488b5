# SPDX-License-Identifier: Apache-2.0
"""Requests and pictures as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.systems.editing.decoder import END
from ldie.tasks.editing.reading import padded, preview, small_region, stacked_regions
from ldie.tasks.editing.sample import EditSample, EditSequence
from ldie_ext import EditOp


@dataclass(frozen=True)
class EditBatch:
    """B requests to learn from, previews of one size."""

    source: Tensor
    """uint8 [B, 3, H, W]."""
    target: Tensor
    """uint8 [B, 3, H, W]."""
    regions: Tensor | None
    """bool [B, H, W]; None: all are everywhere."""
    words: Tensor
    """int64 [B, W]."""
    tokens: Tensor
    """int64 [B, K + 1], of the known steps, and END behind them; K of the longest."""
    params: Tensor
    """[B, K + 1, 24]."""
    counts: Tensor
    """int64 [B], of the known steps."""


@dataclass(frozen=True)
class EditItem:
    """One request to learn from; see :class:`EditBatch`."""

    source: Tensor
    target: Tensor
    region: Tensor | None
    words: Tensor
    steps: EditSequence


def collate(items: Sequence[EditItem], operators: Sequence[EditOp]) -> EditBatch:
    """Samples of one size as a batch."""
    longest = 1 + max(len(item.steps) for item in items)
    number = {int(op): index + 1 for index, op in enumerate(operators)}
    tokens = torch.full((len(items), longest), END)
    params = torch.zeros(len(items), longest, items[0].steps.params.shape[1])
    for row, item in enumerate(items):
        count = len(item.steps)
        tokens[row, :count] = torch.tensor([number[op] for op in item.steps.ops.tolist()], dtype=torch.int64)
        params[row, :count] = item.steps.params
    return EditBatch(
        torch.stack([item.source for item in items]),
        torch.stack([item.target for item in items]),
        stacked_regions([item.region for item in items], items[0].source.shape[1:]),
        padded([item.words for item in items]),
        tokens,
        params,
        torch.tensor([len(item.steps) for item in items]),
    )


def learnable(sample: EditSample, words: Tensor, size: int) -> EditItem:
    """A sample as the editor learns from it."""
    target = sample.source if sample.target is None else sample.target
    return EditItem(
        preview(sample.source, size),
        preview(target, size),
        small_region(sample.region, size),
        words,
        EditSequence.empty() if sample.steps is None else sample.steps,
    )
