"""center_focal_loss_from_boxes: forward and backward on a CenterNet batch, 7 boxes an image, 80 classes.

The composed form draws its heatmap with ldie_ext.center_heatmap, which is faster than any composed drawing.
"""

from __future__ import annotations

import harness
import pytest
from losses.center_batch import CLASSES, SIDE, center_batch, composed, step

import ldie_ext


@pytest.mark.parametrize("batch", [8, 32])
def bench_center_focal_loss_from_boxes(measure: harness.Measure, batch: int) -> None:
    logits, targets = center_batch(batch, measure.device)
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE}, forward and backward",
        ours=step(lambda: ldie_ext.center_focal_loss_from_boxes(logits, *targets), logits),
        composed=step(lambda: composed(logits, ldie_ext.center_heatmap(*targets, CLASSES, (SIDE, SIDE))), logits),
        **harness.step_bytes((logits, targets), output=0.0, gradients=logits),
        memory=True,
    )
