"""Steps that move pixels, on images [B, 3, H, W]: torch's own affine grids and bilinear samples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

__all__: list[str] = []


def sample(images: Tensor, matrices: Tensor, padding: Literal["zeros", "border"]) -> Tensor:
    """Where each pixel comes from: matrices [B, 2, 3] of coordinates that are -1 and 1 at the image's edges."""
    if images.numel() == 0:
        return images
    grid = affine_grid(matrices.to(images.dtype), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def rotation(images: Tensor, angle: Tensor, centre: Tensor) -> Tensor:
    """Matrices that turn by angles [B], counter-clockwise, about centres [B, 2] (x, y)."""
    height, width = images.shape[-2:]
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([cos, -sin * height / max(width, 1), sin * width / max(height, 1), cos], -1).view(-1, 2, 2)
    shift = centre[..., None] - turn @ centre[..., None]
    return torch.cat([turn, shift], -1)


def rotate(images: Tensor, params: Tensor) -> Tensor:
    """About the middle; what comes from outside is black."""
    angle = params[:, 0]
    return sample(images, rotation(images, angle, angle.new_zeros(len(angle), 2)), "zeros")


def flip(images: Tensor, params: Tensor) -> Tensor:
    """Left and right (axis 0) or top and bottom (axis 1) change places."""
    return torch.where(params[:, :1, None, None] < 0.5, images.flip(-1), images.flip(-2))


def crop(images: Tensor, params: Tensor) -> Tensor:
    """A box, in parts of the sides, becomes the whole image."""
    low, high = params[:, :2], params[:, 2:]
    if bool((low >= high).any()):
        row = int((low >= high).any(1).nonzero()[0])
        raise ValueError(f"params of CROP must have x1 < x2 and y1 < y2, got {params[row].tolist()}")
    return sample(images, torch.cat([torch.diag_embed(high - low), (high + low - 1)[..., None]], -1), "border")


def edges(mask: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The first and the last pixel along an axis (2 or 3) that masks [B, 1, H, W] hold, [B]; (0, -1) if none."""
    size = mask.shape[axis]
    held = (mask > 0).flatten(0, 1).any(1 if axis == 3 else 2)
    place = torch.arange(size, device=mask.device)
    some = held.any(-1)
    first = torch.where(held, place, size).amin(-1) if size else place.new_zeros(len(held))
    last = torch.where(held, place, -1).amax(-1) if size else place.new_full((len(held),), -1)
    return torch.where(some, first, 0), last


def rotate_object(layers: Tensor, mask: Tensor, params: Tensor) -> Tensor:
    """About the middle of the mask's box; layers are what moves, [B, any, H, W]."""
    centre = []
    for axis in (3, 2):
        first, last = edges(mask, axis)
        centre.append((first + last + 1).to(params) / max(mask.shape[axis], 1) - 1)
    return sample(layers, rotation(layers, params[:, 0], torch.stack(centre, -1)), "zeros")


def flip_object(layers: Tensor, mask: Tensor, params: Tensor) -> Tensor:
    """Inside the mask's box."""
    return torch.where(params[:, :1, None, None] < 0.5, _mirrored(layers, mask, 3), _mirrored(layers, mask, 2))


def _mirrored(layers: Tensor, mask: Tensor, axis: int) -> Tensor:
    first, last = edges(mask, axis)
    place = torch.arange(layers.shape[axis], device=layers.device)
    inside = (place >= first[:, None]) & (place <= last[:, None])
    source = torch.where(inside, (first + last)[:, None] - place, place)
    shape = [len(layers), 1, 1, 1]
    shape[axis] = layers.shape[axis]
    return layers.gather(axis, source.view(shape).expand_as(layers)) * inside.view(shape)
