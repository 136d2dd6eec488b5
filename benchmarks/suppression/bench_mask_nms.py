"""mask_nms: 500 masks of 80 classes, against a search over the matrix of overlaps."""

from __future__ import annotations

import harness
import torch
from suppression.instances import instances, ious
from torch import Tensor

import ldie_ext


def composed(masks: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """All overlaps by one product of matrices, then the search on the host."""
    order = scores.argsort(descending=True, stable=True)
    hits = (ious(masks[order]) > iou_threshold) & (labels[order][:, None] == labels[order])
    rows, alive = hits.cpu().numpy(), torch.ones(len(order), dtype=torch.bool).numpy()
    for rank in range(len(order)):
        if alive[rank]:
            alive[rank + 1 :] &= ~rows[rank, rank + 1 :]
    return order[torch.from_numpy(alive).to(order.device)]


def bench_mask_nms(measure: harness.Measure) -> None:
    inputs = instances(measure.device, 500)
    measure(
        "500 of 200x334, 80 classes",
        ours=lambda: ldie_ext.mask_nms(*inputs, 0.5),
        composed=lambda: composed(*inputs, 0.5),
        read_bytes=harness.bytes_of(inputs),
    )
