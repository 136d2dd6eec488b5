"""center_heatmap: the targets of a CenterNet batch, 7 boxes an image, 80 classes."""

from __future__ import annotations

import math

import harness
import numpy as np
import pytest
import torch
from torch import Tensor

import ldie_ext

CLASSES, SIDE, PER_IMAGE = 80, 128, 7


def batch_of_boxes(batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    count = PER_IMAGE * batch
    corner = torch.rand(count, 2) * SIDE * 0.8
    boxes = torch.cat([corner, corner + 2 + torch.rand(count, 2) ** 2 * 60], dim=1).clamp(max=SIDE - 1)
    labels = torch.randint(0, CLASSES, (count,))
    offsets = torch.arange(0, count + 1, PER_IMAGE)
    return boxes.to(device), labels.to(device), offsets.to(device)


def roots(height: Tensor, width: Tensor, overlap: float) -> Tensor:
    """CornerNet's radius as CenterNet computes it."""
    total, area = height + width, height * width
    first = total + (total.square() - 4 * area * (1 - overlap) / (1 + overlap)).sqrt()
    second = 2 * total + (4 * total.square() - 16 * (1 - overlap) * area).sqrt()
    third = -2 * overlap * total + (4 * overlap**2 * total.square() + 16 * overlap * (1 - overlap) * area).sqrt()
    return torch.minimum(torch.minimum(first, second), third) / 2


def composed(boxes: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
    """No loop over boxes: every box's Gaussian on its window, joined by one scatter-amax over the flat map."""
    wh, center = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    radius = roots(*wh.double().ceil().flip(1).unbind(1), 0.7).long()
    image = torch.bucketize(torch.arange(len(boxes), device=boxes.device), offsets[1:], right=True)
    heatmap = torch.zeros(len(offsets) - 1, CLASSES, SIDE, SIDE, device=boxes.device)
    shift = torch.arange(-int(radius.max()), int(radius.max()) + 1, device=boxes.device)
    factor = (-shift.square() * 18 / (2 * radius[:, None] + 1).square()).exp() * (shift.abs() <= radius[:, None])
    x, y = (center.long()[:, axis, None] + shift for axis in (0, 1))
    inside = ((y >= 0) & (y < SIDE))[:, :, None] & ((x >= 0) & (x < SIDE))[:, None, :]
    values = factor[:, :, None] * factor[:, None, :] * inside
    plane = (image * CLASSES + labels)[:, None, None]
    flat = (plane * SIDE + y.clamp(0, SIDE - 1)[:, :, None]) * SIDE + x.clamp(0, SIDE - 1)[:, None, :]
    heatmap.view(-1).scatter_reduce_(0, flat.flatten(), values.flatten(), "amax")
    return heatmap


def numpy_centernet(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """CenterNet's loader: each image and box in turn, float64 kernels, maximum into a float32 map."""
    heatmap = np.zeros((len(boxes), CLASSES, SIDE, SIDE), dtype=np.float32)
    for image, rows in enumerate(boxes):
        for box, label in zip(rows, labels[image], strict=True):
            sides = torch.tensor([math.ceil(box[3] - box[1]), math.ceil(box[2] - box[0])], dtype=torch.float64)
            radius = max(0, int(roots(sides[0], sides[1], 0.7)))
            x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
            axis = np.arange(-radius, radius + 1)
            sigma = (2 * radius + 1) / 6
            kernel = np.exp(-(axis[None, :] ** 2 + axis[:, None] ** 2) / (2 * sigma * sigma))
            left, right, top, bottom = (
                min(x, radius),
                min(SIDE - x, radius + 1),
                min(y, radius),
                min(SIDE - y, radius + 1),
            )
            window = heatmap[image, label, y - top : y + bottom, x - left : x + right]
            np.maximum(window, kernel[radius - top : radius + bottom, radius - left : radius + right], out=window)
    return heatmap


@pytest.mark.parametrize("batch", [8, 32])
def bench_center_heatmap(measure: harness.Measure, batch: int) -> None:
    inputs = batch_of_boxes(batch, measure.device)
    arrays = inputs[0].cpu().numpy().reshape(batch, PER_IMAGE, 4), inputs[1].cpu().numpy().reshape(batch, PER_IMAGE)
    size = (SIDE, SIDE)
    np.testing.assert_allclose(numpy_centernet(*arrays), composed(*inputs).cpu().numpy(), rtol=0, atol=1e-6)
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE}",
        ours=lambda: ldie_ext.center_heatmap(*inputs, CLASSES, size),
        composed=lambda: composed(*inputs),
        host_peer=lambda: numpy_centernet(*arrays),
        read_bytes=harness.bytes_of(inputs),
    )


@pytest.mark.parametrize("batch", [8, 32])
def bench_against_zeros(measure: harness.Measure, batch: int) -> None:
    """The floor: an empty map of the same shape (as the composed form)."""
    inputs = batch_of_boxes(batch, measure.device)
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE} against torch.zeros",
        ours=lambda: ldie_ext.center_heatmap(*inputs, CLASSES, (SIDE, SIDE)),
        composed=lambda: torch.zeros(batch, CLASSES, SIDE, SIDE, device=measure.device),
        read_bytes=harness.bytes_of(inputs),
    )


def bench_with_first_read(measure: harness.Measure) -> None:
    """On the CPU a map that is not written in full defers work to its first reader: this row pays for that too."""
    batch = 32
    inputs = batch_of_boxes(batch, measure.device)
    map_bytes = batch * CLASSES * SIDE * SIDE * 4
    measure(
        f"{batch}x{CLASSES}x{SIDE}x{SIDE} and its sum, against torch.zeros and its sum",
        ours=lambda: ldie_ext.center_heatmap(*inputs, CLASSES, (SIDE, SIDE)).sum(),
        composed=lambda: torch.zeros(batch, CLASSES, SIDE, SIDE, device=measure.device).sum(),
        read_bytes=harness.bytes_of(inputs) + map_bytes,
        written_bytes=map_bytes,
    )
