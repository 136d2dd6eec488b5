"""nms on the boxes of one class."""

from __future__ import annotations

import harness
import pytest
import torch
from suppression.boxes import anchor_like, clustered, composed_nms, uniform

import ldie_ext

THRESHOLD = 0.5
COMPOSED_UP_TO = 5000  # its matrices of all pairs take 100 MB each there
CASES = {
    "1k uniform": (uniform, 1000),
    "5k uniform": (uniform, 5000),
    "20k uniform": (uniform, 20_000),
    "20k on 50 objects": (clustered, 20_000),
    "20k anchors": (anchor_like, 20_000),
}


@pytest.mark.parametrize("case", CASES)
def bench_nms(measure: harness.Measure, case: str) -> None:
    make, count = CASES[case]
    boxes, scores = make(count).to(measure.device), torch.rand(count).to(measure.device)
    one_class = torch.zeros_like(scores)
    measure(
        case,
        ours=lambda: ldie_ext.nms(boxes, scores, THRESHOLD),
        composed=(lambda: composed_nms(boxes, scores, one_class, THRESHOLD)) if count <= COMPOSED_UP_TO else None,
        peer=harness.tv and (lambda: harness.tv.nms(boxes, scores, THRESHOLD)),
        read_bytes=harness.bytes_of(boxes, scores),
    )
