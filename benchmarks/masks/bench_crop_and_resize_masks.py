"""crop_and_resize_masks: 128 targets of 28 x 28 from 20 masks of 800x1333, against torchvision's RoIAlign."""

from __future__ import annotations

import harness
import pytest
import torch
from masks.outlines import SIZE, outlines

import ldie_ext

MASKS, ROIS, TARGET = 20, 128, 28


@pytest.mark.parametrize("convention", ["detectron2", "torchvision"])
def bench_crop_and_resize_masks(measure: harness.Measure, convention: str) -> None:
    polygons = ldie_ext.Polygons.from_coco(outlines(MASKS))
    masks = ldie_ext.polygons_to_masks(polygons, SIZE).to(measure.device)
    points = [polygons.coords[slice(*polygons.part_offsets[n : n + 2].tolist())] for n in range(MASKS)]
    tight = torch.stack([torch.cat([p.min(0).values, p.max(0).values]) for p in points]).float()
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, MASKS, (ROIS,), generator=generator)
    boxes = (tight[index] + 3 * torch.randn(ROIS, 4, generator=generator)).to(measure.device)
    index, aligned = index.to(measure.device), convention == "detectron2"
    rois = torch.cat([index[:, None].float(), boxes], dim=1)

    def pooled(values: torch.Tensor) -> torch.Tensor:
        return ldie_ext.roi_align(values, rois, TARGET, 1.0, -1, aligned)

    def by_torchvision() -> torch.Tensor:
        values = harness.tv.roi_align(masks[:, None].float(), rois, TARGET, 1.0, 0, aligned)
        return values >= 0.5 if aligned else values

    measure(
        f"{ROIS} RoIs of {MASKS} at {SIZE[0]}x{SIZE[1]}, {convention}",
        ours=lambda: ldie_ext.crop_and_resize_masks(masks, boxes, TARGET, instances=index, convention=convention),
        peer=harness.tv and by_torchvision,
        read_bytes=harness.touched_bytes(pooled, masks[:, None].float()) // 4,  # of bytes, not of floats
        memory=True,
    )
