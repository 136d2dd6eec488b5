"""Plain RoIAlign: per RoI, the axis weights as dense matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def axis_weights(begin: Tensor, end: Tensor, bins: int, cells: int, ratio: int, aligned: bool) -> Tensor:
    """[bins, cells]: what each cell contributes to each bin. `begin` and `end` are in cells, before the half shift."""
    shift = 0.5 if aligned else 0.0
    begin, end = begin - shift, end - shift
    extent = end - begin if aligned else (end - begin).clamp(min=1)
    bin_size = extent / bins
    grid = ratio if ratio > 0 else max(math.ceil(bin_size), 0)
    weights = begin.new_zeros(bins, cells)
    if grid == 0 or cells == 0:
        return weights
    bin_index = torch.arange(bins, dtype=begin.dtype)[:, None]
    sample = torch.arange(grid, dtype=begin.dtype)
    position = (begin + bin_index * bin_size) + (sample + 0.5) * bin_size / grid
    inside = (position >= -1) & (position <= cells)
    position = position.clamp(0, cells - 1)
    low = position.floor()
    for cell, weight in ((low, 1 - (position - low)), ((low + 1).clamp(max=cells - 1), position - low)):
        weights.scatter_add_(1, cell.long(), torch.where(inside, weight, 0) / grid)
    return weights


def level_of(
    box: Tensor, count: int, first: int, rule: str, canonical_scale: float = 224, canonical_level: int = 4
) -> int:
    """The index of a box's level in the pyramid."""
    side = ((box[2] - box[0]) * (box[3] - box[1])).sqrt()
    if not side > 0:
        return 0
    if rule == "torchvision":
        value = torch.floor(canonical_level + torch.log2(side / canonical_scale) + 1e-6) - first
    elif rule == "detectron2":
        value = torch.floor(canonical_level + torch.log2(side / canonical_scale + 1e-8)) - first
    else:
        value = torch.floor(torch.log2(side / (canonical_scale * 2.0 ** (first - canonical_level)) + 1e-6))
    return int(value.clamp(0, count - 1))


def multiscale_roi_align(
    features: Sequence[Tensor],
    images: Sequence[int],
    boxes: Tensor,
    size: tuple[int, int],
    scales: Sequence[float],
    ratio: int = -1,
    aligned: bool = False,
    **choice: float | str,
) -> Tensor:
    """One RoI after the other; `images` is the image of each box. Differentiable, in the dtype of the features."""
    first = int(-math.log2(scales[0]))
    rule = str(choice.pop("rule", "torchvision"))
    outputs = [features[0].new_zeros(0, features[0].shape[1], *size)]
    for image, box in zip(images, boxes, strict=True):
        level = 0 if len(features) == 1 else level_of(box, len(features), first, rule, **choice)  # type: ignore[arg-type]
        feature, corners = features[level], box * scales[level]
        if not 0 <= image < len(feature) or not corners.isfinite().all():
            outputs.append(feature.new_zeros(1, feature.shape[1], *size))
            continue
        y = axis_weights(corners[1], corners[3], size[0], feature.shape[2], ratio, aligned).to(feature.dtype)
        x = axis_weights(corners[0], corners[2], size[1], feature.shape[3], ratio, aligned).to(feature.dtype)
        outputs.append((y @ feature[image] @ x.T)[None])
    return torch.cat(outputs)
