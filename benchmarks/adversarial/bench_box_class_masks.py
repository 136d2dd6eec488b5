"""box_class_masks: the masks of a CenterNet batch, 7 boxes an image, 80 classes."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

CLASSES, SIDE = 80, 128


def composed(boxes: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
    """No loop over boxes: each box's rectangle from comparisons, then united by a scatter over (image, class)."""
    cells = torch.arange(SIDE, device=boxes.device)
    x1, y1, x2, y2 = boxes.trunc()[:, :, None].unbind(1)
    inside = ((cells >= y1) & (cells < y2))[:, :, None] & ((cells >= x1) & (cells < x2))[:, None, :]
    image = torch.bucketize(torch.arange(len(boxes), device=boxes.device), offsets[1:], right=True)
    masks = torch.zeros(len(offsets) - 1, CLASSES, SIDE, SIDE, dtype=torch.bool, device=boxes.device)
    return masks.index_put_((image, labels), inside, accumulate=True)


@pytest.mark.parametrize("batch", [8, 32])
def bench_box_class_masks(measure: harness.Measure, batch: int) -> None:
    count = 7 * batch
    corner = torch.rand(count, 2) * SIDE * 0.8
    boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2) * 40], dim=1).to(measure.device)
    labels = torch.randint(0, CLASSES, (count,), device=measure.device)
    offsets = torch.arange(0, count + 1, 7, device=measure.device)
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE}",
        ours=lambda: ldie_ext.box_class_masks(boxes, labels, offsets, CLASSES, (SIDE, SIDE)),
        composed=lambda: composed(boxes, labels, offsets),
        read_bytes=harness.bytes_of(boxes, labels, offsets),
    )
