"""Inputs and the composed form that the two centre focal losses are measured with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

CLASSES, SIDE, BOXES = 80, 128, 7


def center_batch(batch: int, device: torch.device) -> tuple[Tensor, list[Tensor]]:
    """Logits that want a gradient, and boxes, labels and offsets: 7 boxes an image, as COCO has on average."""
    count = BOXES * batch
    center, size = torch.rand(count, 2) * SIDE, 4 + torch.rand(count, 2) * 40
    boxes = torch.cat([center - size / 2, center + size / 2], dim=1)
    labels, offsets = torch.randint(0, CLASSES, (count,)), torch.arange(0, count + 1, BOXES)
    logits = (torch.randn(batch, CLASSES, SIDE, SIDE, device=device) - 4).requires_grad_()
    return logits, [tensor.to(device) for tensor in (boxes, labels, offsets)]


def composed(logits: Tensor, heatmap: Tensor) -> Tensor:
    """The least passes found: the penalty is 0 at a peak, so the peaks come in by a gather of their own."""
    peaks = logits[heatmap == 1]
    missed = ((1 - peaks.sigmoid()).square() * logsigmoid(peaks)).sum()
    with torch.no_grad():
        penalty = (1 - heatmap).square_().square_()
    return ((penalty * logits.sigmoid().square() * softplus(logits)).sum() - missed) / max(1, len(peaks))


def step(loss: Callable[[], Tensor], logits: Tensor) -> Callable[[], Tensor]:
    """Forward and backward."""
    return lambda: torch.autograd.grad(loss(), logits)[0]
