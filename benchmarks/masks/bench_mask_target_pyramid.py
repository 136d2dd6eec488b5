"""mask_target_pyramid: 60 masks of 800x1344 at strides 4 to 64, against one interpolation a stride and sums."""

from __future__ import annotations

from typing import Any

import harness
import pytest
import torch
from masks.outlines import outlines
from torch import Tensor
from torch.nn import functional

import ldie_ext

COUNT, SIZE, STRIDES = 60, (800, 1344), (4, 8, 16, 32, 64)
FORMS = ("bool", "packed", "polygons", "run lengths")


def centers(values: Tensor) -> tuple[Tensor, Tensor]:
    """Means from the sums of rows and columns, which are exact in float32."""
    columns, rows = values.sum(1), values.sum(2)
    areas = rows.sum(1)
    xs = (columns * torch.arange(values.shape[2], device=values.device)).sum(1) / areas
    ys = (rows * torch.arange(values.shape[1], device=values.device)).sum(1) / areas
    return torch.stack([xs, ys], 1), areas


def interpolated(masks: Tensor, mode: str) -> tuple[list[Tensor], Tensor, Tensor]:
    """One interpolation for each stride, of masks as float32 that are padded to whole cells."""
    padding = 0, -masks.shape[2] % STRIDES[-1], 0, -masks.shape[1] % STRIDES[-1]
    values = functional.pad(masks.float(), padding)[:, None]
    levels = []
    for stride in STRIDES:
        size = -(-masks.shape[1] // stride), -(-masks.shape[2] // stride)
        if mode == "nearest":
            cells = functional.interpolate(values, scale_factor=1 / stride, mode="nearest") != 0
        elif mode == "bilinear":
            cells = functional.interpolate(values, scale_factor=1 / stride, mode="bilinear") >= 0.5
        else:
            shares = functional.interpolate(values, [side // stride for side in values.shape[2:]], mode="area")
            cells = with_fullest(shares) if mode == "area" else shares
        levels.append(cells[:, 0, : size[0], : size[1]])
    return levels, *centers(values[:, 0])


def with_fullest(shares: Tensor) -> Tensor:
    """Cells of a half and more, and of each mask the fullest."""
    cells = shares >= 0.5
    flat = shares.flatten(1)
    return cells.flatten(1).scatter(1, flat.argmax(1, keepdim=True), flat.any(1, keepdim=True)).view_as(cells)


def of_form(form: str, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The masks in one form, and what that form asks for besides."""
    polygons = ldie_ext.Polygons.from_coco(outlines(COUNT)).to(device)
    if form == "polygons":
        return polygons, {"size": SIZE}
    if form == "run lengths":
        return ldie_ext.polygons_to_rle(polygons, SIZE), {"size": SIZE}
    packed = form == "packed"
    masks = ldie_ext.polygons_to_masks(polygons, SIZE, packed=packed).clone()  # pages that nothing wrote are no memory
    return masks, {"packed_width": SIZE[1]} if packed else {}


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "area", "fraction"])
@pytest.mark.parametrize("form", FORMS)
def bench_mask_target_pyramid(measure: harness.Measure, form: str, mode: str) -> None:
    masks, options = of_form(form, measure.device)
    dense, _ = of_form("bool", measure.device)
    measure(
        f"{COUNT} of {SIZE[0]}x{SIZE[1]}, {form}, {mode}",
        ours=lambda: ldie_ext.mask_target_pyramid(masks, STRIDES, mode=mode, **options),
        composed=lambda: interpolated(dense, mode),
        read_bytes=harness.bytes_of(masks),
    )
