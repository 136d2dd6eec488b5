"""gaussian_maps: the centres of a mask pyramid's hypotheses, on maps of its levels."""

from __future__ import annotations

import math

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SHAPES = [(1, 40, 7, 11), (1, 80, 25, 42), (1, 80, 50, 84), (8, 80, 50, 84), (1, 80, 100, 168)]
RADIUS = 7.0


def composed(centers: Tensor, size: tuple[int, int]) -> Tensor:
    """All maps at once, by a factor for each row and column."""
    factor = -math.log(2) / RADIUS**2
    y, x = (torch.arange(side, device=centers.device) + 0.5 for side in size)
    of_columns = ((x - centers[..., :1]).square_() * factor).exp_()
    of_rows = ((y - centers[..., 1:]).square_() * factor).exp_()
    return of_rows[..., :, None] * of_columns[..., None, :]


def one_by_one(centers: Tensor, size: tuple[int, int]) -> Tensor:
    """A map at a time, with the distance of each cell, as plain code draws them."""
    y, x = (torch.arange(side, device=centers.device) + 0.5 for side in size)
    maps = [
        (-math.log(2) * ((x - cx)[None, :] ** 2 + (y - cy)[:, None] ** 2) / RADIUS**2).exp()
        for cx, cy in centers.flatten(0, -2)
    ]
    return torch.stack(maps).unflatten(0, centers.shape[:-1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def bench_gaussian_maps(measure: harness.Measure, shape: tuple[int, int, int, int]) -> None:
    size = shape[2:]
    centers = torch.rand(*shape[:2], 2, device=measure.device) * torch.tensor(size[::-1], device=measure.device)
    torch.testing.assert_close(ldie_ext.gaussian_maps(centers, RADIUS, size), composed(centers, size))
    measure(
        "x".join(map(str, shape)),
        ours=lambda: ldie_ext.gaussian_maps(centers, RADIUS, size),
        composed=lambda: composed(centers, size),
        host_peer=lambda: one_by_one(centers, size),
        read_bytes=harness.bytes_of(centers),
    )
