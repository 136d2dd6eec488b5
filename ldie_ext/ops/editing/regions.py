"""Regions of pictures, at the size of a picture that is a larger or smaller one of the same."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext._public import shown

__all__: list[str] = []


def region_at(region: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """A region bool [H, W] at an image's size.

    Raises:
        ValueError: it is no such tensor, or the image no enlarged or reduced picture of its size.
    """
    if not isinstance(region, Tensor) or region.dtype != torch.bool or region.dim() != 2 or 0 in region.shape:
        raise ValueError(f"region must be a bool tensor [H, W], got {shown(region)}")
    check_aspect((region.shape[0], region.shape[1]), size, "region")
    return nearest_pixels(region[None].cpu(), size)[0].to(device)


def is_same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one (H, W) is the other at a scale, but for rounding to whole pixels."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(sum(size), sum(other))


def check_aspect(size: tuple[int, int], other: tuple[int, int], whose: str) -> None:
    """Raises a ValueError for an image of another aspect than someone's size (H, W)."""
    if not is_same_aspect(size, other):
        raise ValueError(f"image must have the aspect of {whose}, {size[0]} x {size[1]}, got {other[0]} x {other[1]}")


def nearest_pixels(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks [M, H, W] at another size: each pixel takes the one under its centre."""
    if tuple(masks.shape[1:]) == size:
        return masks
    rows, columns = ((2 * torch.arange(new) + 1) * old // (2 * new) for new, old in zip(size, masks.shape[1:]))
    return masks[:, rows][:, :, columns]
