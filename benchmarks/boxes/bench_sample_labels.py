"""sample_labels on the anchors of a feature pyramid at 800 x 1344; the peer samples image by image with randperm."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

ANCHORS, SAMPLES, FRACTION = 268_569, 256, 0.5


def anchor_matches(batch: int) -> Tensor:
    """Some 200 positives, 2 % ignored."""
    chance = torch.rand(batch, ANCHORS)
    return torch.where(chance < 0.00075, 0, torch.where(chance > 0.98, -2, -1))


def composed(matches: Tensor) -> Tensor:
    """All images at once: the best random numbers of each kind, positives first; without reading a count."""
    positive = matches >= 0
    drawn = torch.rand(matches.shape, device=matches.device)
    best, positives = torch.where(positive, drawn, -1.0).topk(int(SAMPLES * FRACTION))
    used = best >= 0
    negatives = torch.where(matches == -1, drawn, -1.0).topk(SAMPLES).indices
    slots = torch.arange(SAMPLES, device=matches.device) - used.sum(1, keepdim=True)
    padded = torch.nn.functional.pad(positives, (0, SAMPLES - positives.shape[1]))
    return torch.where(slots < 0, padded, negatives.gather(1, slots.clamp(min=0)))


def peer(matches: Tensor) -> list[Tensor]:
    """As torchvision's BalancedPositiveNegativeSampler."""
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

    labels = torch.where(matches >= 0, 1.0, torch.where(matches == -1, 0.0, -1.0))
    return BalancedPositiveNegativeSampler(SAMPLES, FRACTION)(list(labels))


@pytest.mark.parametrize("batch", [2, 8])
def bench_sample_labels(measure: harness.Measure, batch: int) -> None:
    matches, seeds = anchor_matches(batch).to(measure.device), torch.arange(batch, device=measure.device)
    measure(
        f"{batch} images, 269k anchors, {SAMPLES} samples",
        ours=lambda: ldie_ext.sample_labels(matches, SAMPLES, FRACTION, seeds),
        composed=lambda: composed(matches),
        peer=harness.tv and (lambda: peer(matches)),
        read_bytes=harness.bytes_of(matches, seeds),
    )
