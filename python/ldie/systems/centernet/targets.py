# SPDX-License-Identifier: Apache-2.0
"""Training batches by scale, and the boxes on the feature map from which the operators make all targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import ldie_ext


@dataclass(frozen=True)
class Crop:
    """One training crop of one scale."""

    image: Tensor  # uint8 [3,S,S], RGB
    boxes: Tensor  # float32 [N,4], crop pixels
    labels: Tensor  # int64 [N]


@dataclass(frozen=True)
class ScaleBatch:
    """The crops of one scale over a batch; image b owns the boxes offsets[b]..offsets[b + 1]."""

    images: Tensor  # uint8 [B,3,S,S], RGB
    boxes: Tensor  # float32 [N,4], crop pixels
    labels: Tensor  # int64 [N]
    offsets: Tensor  # int64 [B+1]


@dataclass(frozen=True)
class CellTargets:
    """Ground truth of one scale in cells of the feature map."""

    boxes: Tensor  # float32 [N,4]
    labels: Tensor
    offsets: Tensor
    centers: ldie_ext.CenterTargets


def collate_crops(items: Sequence[Sequence[Crop]]) -> list[ScaleBatch]:
    """Batches the crops of each scale: items[b][i] is image b at the i-th scale in use."""
    return [_stack(crops) for crops in zip(*items)]


def _stack(crops: Sequence[Crop]) -> ScaleBatch:
    counts = torch.tensor([0] + [len(crop.labels) for crop in crops])
    return ScaleBatch(
        torch.stack([crop.image for crop in crops]),
        torch.cat([crop.boxes for crop in crops]),
        torch.cat([crop.labels for crop in crops]),
        counts.cumsum(0),
    )


def cell_targets(batch: ScaleBatch, down_ratio: int, size: tuple[int, int], max_objects: int) -> CellTargets:
    """The boxes of a batch in cells, and the regression targets of their centres; heatmap and masks stay implicit."""
    boxes = batch.boxes / down_ratio
    centers = ldie_ext.center_targets(boxes, batch.labels, batch.offsets, size, max_objects)
    return CellTargets(boxes, batch.labels, batch.offsets, centers)
