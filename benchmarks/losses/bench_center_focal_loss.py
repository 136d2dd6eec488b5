"""center_focal_loss: forward and backward on a CenterNet batch, 80 classes, against a heatmap in memory."""

from __future__ import annotations

import harness
import pytest
from losses.center_batch import CLASSES, SIDE, center_batch, composed, step

import ldie_ext


@pytest.mark.parametrize("batch", [8, 32])
def bench_center_focal_loss(measure: harness.Measure, batch: int) -> None:
    logits, targets = center_batch(batch, measure.device)
    heatmap = ldie_ext.center_heatmap(*targets, CLASSES, (SIDE, SIDE))
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE}, forward and backward",
        ours=step(lambda: ldie_ext.center_focal_loss(logits, heatmap), logits),
        composed=step(lambda: composed(logits, heatmap), logits),
        **harness.step_bytes((logits, heatmap), output=0.0, gradients=logits),
        memory=True,
    )
