"""nms_padded: the best 1,000 proposals of five levels; the peer cuts and pads what batched_nms gives."""

from __future__ import annotations

import harness
import torch
from suppression.boxes import anchor_like
from torch import Tensor

import ldie_ext

LEVELS, PER_LEVEL, THRESHOLD, MAX_OUTPUT = 5, 2000, 0.7, 1000


def peer(boxes: Tensor, scores: Tensor, idxs: Tensor) -> Tensor:
    kept = harness.tv.batched_nms(boxes, scores, idxs, THRESHOLD)[:MAX_OUTPUT]
    return torch.nn.functional.pad(kept, (0, MAX_OUTPUT - len(kept)), value=-1)


def bench_nms_padded(measure: harness.Measure) -> None:
    count = LEVELS * PER_LEVEL
    levels = torch.arange(LEVELS).repeat_interleave(PER_LEVEL)
    inputs = [t.to(measure.device) for t in (anchor_like(count), torch.rand(count), levels)]
    measure(
        f"{LEVELS} x {PER_LEVEL} proposals to {MAX_OUTPUT}",
        ours=lambda: ldie_ext.nms_padded(*inputs, THRESHOLD, MAX_OUTPUT),
        peer=harness.tv and (lambda: peer(*inputs)),
        read_bytes=harness.bytes_of(inputs),
    )
