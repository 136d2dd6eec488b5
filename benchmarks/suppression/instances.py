"""Masks with labels and scores, as an instance head gives them, and what composed PyTorch makes of them."""

from __future__ import annotations

import torch
from masks.outlines import SIZE, outlines
from torch import Tensor

import ldie_ext


def instances(device: torch.device, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bool [count, 200, 334] on a quarter of the image's resolution, labels of 80 classes, scores."""
    generator = torch.Generator().manual_seed(0)
    quarter = [[[value / 4 for value in part] for part in instance] for instance in outlines(count)]
    size = (SIZE[0] // 4, (SIZE[1] + 3) // 4)
    masks = ldie_ext.polygons_to_masks(ldie_ext.Polygons.from_coco(quarter).to(device), size)
    labels = torch.randint(0, 80, (count,), generator=generator)
    return masks, labels.to(device), torch.rand(count, generator=generator).to(device)


def ious(masks: Tensor) -> Tensor:
    flat = masks.flatten(1).float()
    shared, areas = flat @ flat.T, flat.sum(1)
    return shared / (areas[:, None] + areas - shared)
