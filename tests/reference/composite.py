"""Maps resized in one step or two, by PyTorch's own interpolation of whole images, and painted by score in a loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


def values(
    maps: Tensor,
    size: Size,
    *,
    index: Tensor | None = None,
    between: Size | None = None,
    crop: Size | None = None,
    align_corners: bool = False,
) -> Tensor:
    """[K, H, W] before the threshold; maps of 16 bits are computed in float32, rows that do not exist are -infinity."""
    maps = maps.to(torch.float64 if maps.dtype == torch.float64 else torch.float32)
    if index is not None:
        exists = (index >= 0) & (index < len(maps))
        missing = maps.new_full((1, *maps.shape[1:]), -torch.inf)
        maps = torch.cat([maps, missing])[torch.where(exists, index, len(maps))]
    if between is not None:
        maps = resize(maps, between, align_corners)
    if crop is not None:
        maps = maps[:, : crop[0], : crop[1]]
    return resize(maps, size, align_corners)


def resize(maps: Tensor, size: Size, align_corners: bool) -> Tensor:
    if len(maps) == 0:
        return maps.new_empty(0, *size)
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=align_corners)[:, 0]


def paint(masks: Tensor, scores: Tensor | None = None) -> Tensor:
    """Each pixel in the first of its masks alone, by descending score: equal ones in their order, NaN first."""
    order = range(len(masks)) if scores is None else scores.sort(descending=True, stable=True).indices.tolist()
    taken = torch.zeros(masks.shape[1:], dtype=torch.bool)
    painted = torch.zeros_like(masks)
    for mask in order:
        painted[mask] = masks[mask] & ~taken
        taken |= masks[mask]
    return painted


# ---- the op's own arithmetic, to the bit, for float32


def composed_values(maps: Tensor, size: Size, between: Size | None, crop: Size | None, align_corners: bool) -> Tensor:
    """[R, H, W] float32: a sum over at most four rows of sums over at most four columns, in their order."""
    whole = between or tuple(maps.shape[1:])
    axes = [
        axis_taps(maps.shape[1 + axis], between and between[axis], (crop or whole)[axis], size[axis], align_corners)
        for axis in range(2)
    ]
    along_x = weighted_sum(maps, *axes[1])
    return weighted_sum(along_x.mT, *axes[0]).mT


def weighted_sum(maps: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    total = weights[0] * maps[..., cells[0]]
    for cell, weight in zip(cells[1:], weights[1:]):
        total = total + weight * maps[..., cell]
    return total


def axis_taps(cells: int, between: int | None, crop: int, pixels: int, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Cells and weights [4, pixels]; what a pixel does not read has weight 0."""
    places, weights = torch.zeros(4, pixels, dtype=torch.int64), torch.zeros(4, pixels)
    for pixel in range(pixels):
        taps: dict[int, Tensor] = {}
        for cell, weight in step_taps(crop, pixels, pixel, align_corners):
            before = [(cell, torch.tensor(1.0))] if between is None else step_taps(cells, between, cell, align_corners)
            for place, share in before:
                taps[place] = taps.get(place, torch.tensor(0.0)) + weight * share
        for k, place in enumerate(sorted(taps)):
            places[k, pixel], weights[k, pixel] = place, taps[place]
    return places, weights


def step_taps(cells: int, pixels: int, pixel: int, align_corners: bool) -> list[tuple[int, Tensor]]:
    """One step of F.interpolate: two cells and their weights, rounded to float32 as PyTorch's kernels round."""
    if cells == pixels:
        return [(pixel, torch.tensor(1.0))]
    if align_corners:
        scale = torch.tensor(float(cells - 1)) / max(pixels - 1, 1) if pixels > 1 else torch.tensor(0.0)
        position = scale * pixel
    else:
        scale = torch.tensor(float(cells)) / pixels
        position = (scale.double() * (pixel + 0.5) - 0.5).float().clamp(min=0)  # one rounding, as fused
    low = min(int(position), cells - 1)
    fraction = position - low
    return [(low, 1 - fraction), (min(low + 1, cells - 1), fraction)]
