"""heatmap_peaks: the decoding of a CenterNet heatmap, 80 classes at 128 x 128, the best 100 of each image."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

CLASSES, SIDE, K = 80, 128, 100


def composed(scores: Tensor, per_class: bool) -> tuple[Tensor, ...]:
    """Pool, compare, top-k, as published decoders do."""
    pooled = torch.nn.functional.max_pool2d(scores, 3, stride=1, padding=1)
    best, flat = (scores * (pooled == scores)).flatten(2 if per_class else 1).topk(K)
    return best, flat // (SIDE * SIDE), flat % (SIDE * SIDE) // SIDE, flat % SIDE


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("batch", [1, 8])
def bench_heatmap_peaks(measure: harness.Measure, batch: int, per_class: bool) -> None:
    scores = torch.rand(batch, CLASSES, SIDE, SIDE, device=measure.device)
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE}, k={K}{' per class' if per_class else ''}",
        ours=lambda: ldie_ext.heatmap_peaks(scores, K, per_class=per_class),
        composed=lambda: composed(scores, per_class),
        read_bytes=harness.bytes_of(scores),
    )
