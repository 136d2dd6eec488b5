"""multiscale_roi_align against the plain reference on every backend, and against torchvision's module."""

from __future__ import annotations

import pytest
import reference.roi as reference
import torch
from backends import Backend
from roi.cases import make_boxes

import ldie_ext

SCALES = [1 / 4, 1 / 8, 1 / 16]
CHOICE = {"canonical_scale": 24.0, "canonical_level": 3}


def make_pyramid(
    channels: int, batch: int = 2, side: int = 64, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    return [torch.randn(batch, channels, int(side * scale), int(side * scale) + 3, dtype=dtype) for scale in SCALES]


@pytest.mark.parametrize("levels", ["torchvision", "detectron2", "mmdet"])
def test_matches_reference(backend: Backend, levels: str) -> None:
    features, boxes, offsets = make_pyramid(3), make_boxes(24, 64), torch.tensor([0, 9, 24])
    images = [0] * 9 + [1] * 15
    for aligned in (False, True):
        for ratio in (-1, 2):
            wanted = reference.multiscale_roi_align(
                features, images, boxes, (7, 5), SCALES, ratio, aligned, rule=levels, **CHOICE
            )
            output = ldie_ext.multiscale_roi_align(
                [feature.to(backend.device) for feature in features], boxes.to(backend.device),
                offsets.to(backend.device), (7, 5), SCALES, ratio, aligned, levels=levels, **CHOICE,
            )  # fmt: skip
            torch.testing.assert_close(output.cpu(), wanted, rtol=2e-5, atol=2e-5)
