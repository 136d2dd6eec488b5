"""paste_masks: 100 masks of 28 x 28 on an image of 800x1333, against torchvision's paste and a threshold."""

from __future__ import annotations

import harness
import pytest
import torch
from masks.outlines import SIZE

import ldie_ext

if harness.torchvision is not None:
    from torchvision.models.detection.roi_heads import paste_masks_in_image

COUNT = 100


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize("kind", ["bool", "bool, out=", "packed"])
def bench_paste_masks(measure: harness.Measure, kind: str, convention: str) -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(COUNT, 2, generator=generator) * torch.tensor([1000.0, 500.0])
    sides = 20 + 280 * torch.rand(COUNT, 2, generator=generator)
    boxes = torch.cat([corners, corners + sides], dim=1).to(measure.device)
    masks = torch.rand(COUNT, 1, 28, 28, generator=generator).to(measure.device)
    packed = kind == "packed"
    out = torch.empty(COUNT, *SIZE, dtype=torch.bool, device=measure.device) if "out" in kind else None
    measure(
        f"{COUNT} at {SIZE[0]}x{SIZE[1]}, {convention}, {kind}",
        ours=lambda: ldie_ext.paste_masks(masks, boxes, SIZE, convention=convention, packed=packed, out=out),
        peer=harness.torchvision and (lambda: paste_masks_in_image(masks, boxes, SIZE) > 0.5),
        read_bytes=harness.bytes_of(masks, boxes),
        given_output=out is not None,
        memory=True,
    )
