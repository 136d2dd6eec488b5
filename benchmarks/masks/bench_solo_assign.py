"""solo_assign: batches of 800x1344 with about 7 (COCO) and 30 objects an image, and of small images."""

from __future__ import annotations

import math
from typing import NamedTuple

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SIGMA = 0.2


class Case(NamedTuple):
    """Images, objects of each, the size and the levels."""

    batch: int
    per_image: int
    size: tuple[int, int] = (800, 1344)
    grids: tuple[int, ...] = (40, 36, 24, 16, 12)
    ranges: tuple[tuple[float, float], ...] = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))

    def __str__(self) -> str:
        return f"{self.batch} images of {self.size[0]}x{self.size[1]}, {self.per_image} objects each"


CASES = [
    *(Case(batch, count) for batch in (2, 16) for count in (7, 30)),
    Case(8, 4, (128, 128), (12, 8), ((1, 48), (32, 128))),
]

Objects = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def objects(case: Case, device: torch.device) -> Objects:
    """Boxes, labels, centres, areas and offsets; sides are as likely small as large."""
    generator = torch.Generator().manual_seed(0)
    count, (height, width) = case.batch * case.per_image, case.size
    extent = torch.tensor([width, height])
    sides = 8 * (extent / 10) ** torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (extent - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    centers = corner + sides * (0.4 + 0.2 * torch.rand(count, 2, generator=generator))
    labels = torch.randint(80, (count,), generator=generator)
    areas = (sides.prod(1) / 2).long()
    offsets = torch.arange(0, count + 1, case.per_image)
    return tuple(tensor.to(device) for tensor in (boxes, labels, centers, areas, offsets))  # type: ignore[return-value]


def composed(
    case: Case, boxes: Tensor, labels: Tensor, centers: Tensor, areas: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """All objects, levels and their 3 x 3 cells at once; the greatest row that is scattered to a cell has it."""
    device, reach = boxes.device, torch.arange(-1, 2, device=boxes.device)
    sides = torch.tensor(case.grids, device=device)
    ranges = torch.tensor(case.ranges, device=device)
    firsts = (sides * sides).cumsum(0) - sides * sides
    wh = (boxes[:, 2:] - boxes[:, :2]).double()
    scale = wh.prod(1).sqrt()[:, None]
    taken = (scale >= ranges[:, 0]) & (scale <= ranges[:, 1]) & (areas > 0)[:, None]
    half = wh * (SIGMA / 2)
    ends = torch.stack([centers - half, centers, centers + half])[..., None, :]
    per_pixel = sides[:, None] / torch.tensor(case.size[::-1], device=device)
    low, middle, high = (ends * per_pixel).long().clamp_(min=0).minimum((sides - 1)[:, None])
    cells = middle[..., None] + reach  # [G, levels, 2, 3]
    along = (cells >= low[..., None]) & (cells <= high[..., None])
    held = along[..., 1, :, None] & along[..., 0, None, :] & taken[..., None, None]
    rows = torch.arange(len(boxes), device=device)
    total = sum(side * side for side in case.grids)
    image = torch.bucketize(rows, offsets, right=True) - 1
    first = (image * total)[:, None] + firsts
    index = cells[..., 1, :, None] * sides[:, None, None] + cells[..., 0, None, :] + first[..., None, None]
    nowhere = case.batch * total
    instances = torch.full((nowhere + 1,), -1, device=device)
    index = torch.where(held, index, nowhere).flatten()
    instances.scatter_reduce_(0, index, rows.repeat_interleave(9 * len(case.grids)), "amax")
    instances = instances[:-1].view(case.batch, total)
    return torch.where(instances >= 0, labels[instances], -1), instances


def loop(case: Case, boxes: Tensor, labels: Tensor, centers: Tensor, areas: Tensor, offsets: Tensor) -> Tensor:
    """Image by image, level by level, object by object."""
    height, width = case.size
    images = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        scale = (boxes[begin:end, 2:] - boxes[begin:end, :2]).prod(1).sqrt()
        levels = []
        for side, (low, high) in zip(case.grids, case.ranges, strict=True):
            level = torch.full((2, side, side), -1)
            for row in ((scale >= low) & (scale <= high)).nonzero().flatten() + begin:
                if areas[row] == 0:
                    continue
                x, y = centers[row].tolist()
                w, h = (boxes[row, 2:] - boxes[row, :2]).tolist()
                top, bottom = span(y, h, height, side)
                left, right = span(x, w, width, side)
                level[0, top : bottom + 1, left : right + 1] = labels[row]
                level[1, top : bottom + 1, left : right + 1] = row
            levels.append(level.flatten(1))
        images.append(torch.cat(levels, 1))
    return torch.stack(images, 1)


def span(center: float, length: float, extent: int, side: int) -> tuple[int, int]:
    """The first and the last cell."""
    low, middle, high = (
        min(max(math.floor((center + part * SIGMA / 2 * length) * side / extent), 0), side - 1) for part in (-1, 0, 1)
    )
    return max(low, middle - 1), min(high, middle + 1)


@pytest.mark.parametrize("case", CASES, ids=str)
def bench_solo_assign(measure: harness.Measure, case: Case) -> None:
    inputs = objects(case, measure.device)
    host = [tensor.cpu() for tensor in inputs]
    measure(
        str(case),
        ours=lambda: ldie_ext.solo_assign(*inputs, case.size, case.grids, case.ranges, sigma=SIGMA),
        composed=lambda: composed(case, *inputs),
        host_peer=lambda: loop(case, *host),
        read_bytes=harness.bytes_of(inputs),
    )


@pytest.mark.parametrize("packed", [False, True])
def bench_solo_assign_by_mask(measure: harness.Measure, packed: bool) -> None:
    case = CASES[1]
    inputs = objects(case, measure.device)
    masks = torch.rand(len(inputs[0]), *case.size, device=measure.device) < 0.5
    if packed:
        bits = 1 << torch.arange(8, device=measure.device)
        masks = (masks.view(*masks.shape[:2], -1, 8) * bits).sum(-1).byte()
    measure(
        f"{case}, masks {'packed' if packed else 'bool'}",
        ours=lambda: ldie_ext.solo_assign(
            *inputs, case.size, case.grids, case.ranges, sigma=SIGMA, convention="seed", masks=masks,
            packed_width=case.size[1] if packed else None,
        ),
        read_bytes=harness.bytes_of(inputs),
    )  # fmt: skip
