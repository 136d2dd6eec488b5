"""A background and objects for the steps of an executor."""

from __future__ import annotations

import torch
from torch import Tensor


def invented(images: Tensor, holes: Tensor) -> Tensor:
    """A background that knows nothing of the image."""
    rows = torch.linspace(0, 1, images.shape[2], dtype=images.dtype, device=images.device)
    return rows[:, None].expand_as(images)


def object_masks(count: int, height: int, width: int, *, soft: bool) -> Tensor:
    """A disc somewhere in each image."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.rand(count, 2) * torch.tensor([height, width]) * 0.6 + torch.tensor([height, width]) * 0.2
    distance = torch.hypot(y - centres[:, :1, None], x - centres[:, 1:, None]) / (min(height, width) * 0.3)
    return (2 - 2 * distance).clamp(0, 1) if soft else distance < 1
