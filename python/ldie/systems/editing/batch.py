# SPDX-License-Identifier: Apache-2.0
"""Requests and pictures as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldie.nn.language import PAD
from ldie.systems.editing.decoder import END
from ldie.tasks.editing.sample import EditInput, EditSample, EditSequence
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


def padded(sentences: Sequence[Tensor]) -> Tensor:
    """Numbers of words int64 [B, W], W of the longest sentence."""
    return nn.utils.rnn.pad_sequence(list(sentences), batch_first=True, padding_value=PAD)


def stacked_regions(regions: Sequence[Tensor | None], size: Sequence[int]) -> Tensor | None:
    """Bool [B, H, W], all true where there is none; None where no request has one."""
    if all(region is None for region in regions):
        return None
    return torch.stack([torch.ones(*size, dtype=torch.bool) if region is None else region for region in regions])


def preview(image: Tensor, size: int) -> Tensor:
    """A picture uint8 [3, H, W] at ``size`` x ``size``, its aspect ignored."""
    if image.shape[1:] == (size, size):
        return image
    small = nn.functional.interpolate(
        image[None].float(), (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return small[0].round().clamp(0, 255).to(torch.uint8)


def small_region(region: Tensor | None, size: int) -> Tensor | None:
    """A region bool [H, W] at ``size`` x ``size``; a cell is in it where any of its pixels is, so none vanishes."""
    if region is None or region.shape == (size, size):
        return region
    return nn.functional.adaptive_max_pool2d(region[None].float(), (size, size))[0] > 0


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


def previews(inputs: Sequence[EditInput], size: int) -> tuple[Tensor, Tensor | None]:
    """Pictures uint8 [B, 3, size, size], and their regions bool [B, size, size] where any has one."""
    regions = [small_region(item.region, size) for item in inputs]
    return torch.stack([preview(item.image, size) for item in inputs]), stacked_regions(regions, (size, size))
