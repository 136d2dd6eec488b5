"""matrix_nms: 500 masks of 80 classes, against the published composed form."""

from __future__ import annotations

import harness
import torch
from suppression.instances import instances, ious
from torch import Tensor

import ldie_ext


def composed(masks: Tensor, labels: Tensor, scores: Tensor, sigma: float = 2.0) -> Tensor:
    """SOLOv2's matrices, on masks sorted by score."""
    order = scores.argsort(descending=True, stable=True)
    iou = (ious(masks[order]) * (labels[order][:, None] == labels[order])).triu(1)
    greatest = iou.max(0).values[:, None]
    decay = (torch.exp(-sigma * iou**2) / torch.exp(-sigma * greatest**2)).min(0).values
    return torch.empty_like(scores).scatter_(0, order, scores[order] * decay)


def bench_matrix_nms(measure: harness.Measure) -> None:
    inputs = instances(measure.device, 500)
    measure(
        "500 of 200x334, 80 classes",
        ours=lambda: ldie_ext.matrix_nms(*inputs),
        composed=lambda: composed(*inputs),
        read_bytes=harness.bytes_of(inputs),
    )
