"""Masks with labels and scores: many overlaps, copies, empty masks and equal scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mask_case(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Masks bool [N, 19, 37] of three labels."""
    boxes = torch.rand(count, 4)
    ys, xs = torch.meshgrid(torch.linspace(0, 1, 19), torch.linspace(0, 1, 37), indexing="ij")
    inside = (xs - boxes[:, 0, None, None]).abs() < boxes[:, 2, None, None] / 3
    masks = inside & ((ys - boxes[:, 1, None, None]).abs() < boxes[:, 3, None, None] / 3)
    masks[1::5] = masks[::5][: len(masks[1::5])]
    masks[2::11] = False
    return masks, torch.randint(0, 3, (count,)), (torch.rand(count) * 20).round().div(20).to(dtype)


def packed(masks: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(masks.numpy(), axis=-1, bitorder="little"))


def ious(masks: Tensor) -> Tensor:
    """float64 [N, N], 0 where nothing is shared."""
    flat = masks.flatten(1).double()
    shared, areas = flat @ flat.T, flat.sum(1)
    return torch.where(shared > 0, shared / (areas[:, None] + areas - shared), 0)
