"""batched_nms on boxes of 80 classes."""

from __future__ import annotations

import harness
import pytest
import torch
from suppression.boxes import composed_nms, uniform

import ldie_ext

CLASSES, THRESHOLD = 80, 0.5
COMPOSED_UP_TO = 5000  # its matrices of all pairs take 100 MB each there


@pytest.mark.parametrize("count", [1000, 5000, 20_000])
def bench_batched_nms(measure: harness.Measure, count: int) -> None:
    inputs = [t.to(measure.device) for t in (uniform(count), torch.rand(count), torch.randint(0, CLASSES, (count,)))]
    measure(
        f"{count // 1000}k boxes, {CLASSES} classes",
        ours=lambda: ldie_ext.batched_nms(*inputs, THRESHOLD),
        composed=(lambda: composed_nms(*inputs, THRESHOLD)) if count <= COMPOSED_UP_TO else None,
        peer=harness.tv and (lambda: harness.tv.batched_nms(*inputs, THRESHOLD)),
        read_bytes=harness.bytes_of(inputs),
    )
