"""roi_align: the RoIs of a single-level detector, and ground-truth masks cut out of whole-image ones."""

from __future__ import annotations

import harness
import pytest
import torch
from roi.pyramid import BATCH, CHANNELS, HEIGHT, WIDTH, random_boxes

import ldie_ext


@pytest.mark.parametrize("ratio", [2, -1], ids=["ratio 2", "adaptive"])
def bench_roi_align(measure: harness.Measure, ratio: int) -> None:
    features = torch.randn(BATCH, CHANNELS, HEIGHT // 16, WIDTH // 16, device=measure.device)
    boxes = [random_boxes(500).to(measure.device) for _ in range(BATCH)]
    measure(
        f"1000 RoIs 7x7, stride 16, {'adaptive' if ratio < 0 else f'ratio {ratio}'}",
        ours=lambda: ldie_ext.roi_align(features, boxes, 7, 1 / 16, ratio, True),
        peer=harness.tv and (lambda: harness.tv.roi_align(features, boxes, 7, 1 / 16, ratio, True)),
        read_bytes=harness.touched_bytes(
            lambda maps: ldie_ext.roi_align(maps, boxes, 7, 1 / 16, ratio, True), features
        ),
    )


def bench_roi_align_masks(measure: harness.Measure) -> None:
    masks = (torch.rand(40, 1, HEIGHT, WIDTH, device=measure.device) < 0.5).float()
    index = torch.randint(0, len(masks), (256,), device=measure.device)
    rois = torch.cat([index[:, None].float(), random_boxes(256).to(measure.device)], dim=1)
    measure(
        "256 masks 28x28 out of 40 of 800x1344, adaptive",
        ours=lambda: ldie_ext.roi_align(masks, rois, 28),
        peer=harness.tv and (lambda: harness.tv.roi_align(masks, rois, 28)),
        read_bytes=harness.touched_bytes(lambda maps: ldie_ext.roi_align(maps, rois, 28), masks),
    )
