"""decode_keypoints: an image's 100 detections of 17 keypoints, boxes of persons of all sizes."""

from __future__ import annotations

from importlib import import_module

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

heads = harness.tv and import_module("torchvision.models.detection.roi_heads")
KEYPOINTS, SIDE = 17, 56


def peaked(boxes: int, device: torch.device) -> Tensor:
    """What a trained head gives: one peak a map, some noise around it."""
    row, column = torch.rand(2, boxes, KEYPOINTS, 1, 1, device=device) * SIDE
    cells = torch.arange(SIDE, device=device)
    distance = (cells[:, None] - row) ** 2 + (cells - column) ** 2
    return 12 * torch.exp(-distance / 18) + torch.randn(boxes, KEYPOINTS, SIDE, SIDE, device=device)


@pytest.mark.parametrize("kind", ["peaked", "noise"])
@pytest.mark.parametrize("boxes", [10, 100])
def bench_decode_keypoints(measure: harness.Measure, boxes: int, kind: str) -> None:
    heatmaps = peaked(boxes, measure.device)
    if kind == "noise":
        heatmaps = torch.randn_like(heatmaps)
    corner = torch.rand(boxes, 2, device=measure.device) * 500
    size = torch.tensor([40.0, 80.0], device=measure.device) + torch.rand(boxes, 2, device=measure.device) * 220
    regions = torch.cat([corner, corner + size], dim=1)
    measure(
        f"{boxes}x{KEYPOINTS}x{SIDE}x{SIDE}, {kind}",
        ours=lambda: ldie_ext.decode_keypoints(heatmaps, regions),
        peer=heads and (lambda: heads.heatmaps_to_keypoints(heatmaps, regions)),
        read_bytes=harness.bytes_of(heatmaps, regions),
    )
