"""keypoint_targets: the 17 keypoints of a batch's foreground boxes."""

from __future__ import annotations

from importlib import import_module

import harness
import pytest
import torch

import ldie_ext

heads = harness.tv and import_module("torchvision.models.detection.roi_heads")
KEYPOINTS, SIDE = 17, 56


@pytest.mark.parametrize("boxes", [128, 1024])
def bench_keypoint_targets(measure: harness.Measure, boxes: int) -> None:
    corner = torch.rand(boxes, 2, device=measure.device) * 500
    regions = torch.cat([corner, corner + 50 + torch.rand(boxes, 2, device=measure.device) * 200], dim=1)
    points = corner[:, None] + torch.rand(boxes, KEYPOINTS, 2, device=measure.device) * 300
    keypoints = torch.cat([points, torch.ones_like(points[..., :1])], dim=2)
    measure(
        f"{boxes}x{KEYPOINTS}, {SIDE}x{SIDE} cells",
        ours=lambda: ldie_ext.keypoint_targets(keypoints, regions, (SIDE, SIDE)),
        peer=heads and (lambda: heads.keypoints_to_heatmap(keypoints, regions, SIDE)),
        read_bytes=harness.bytes_of(keypoints, regions),
    )
