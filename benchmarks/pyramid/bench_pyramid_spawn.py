"""pyramid_spawn: 80 births at most on the maps of strides 16 and 8, where some, none or all cells are free."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SLOTS, CAPACITY, THRESHOLD, MIN_SPAWN = 80, 80, 0.2, 8


def composed(coverage: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Batched, of fixed size and without waiting for the device: top-k, and of each place whether it is taken.

    Of equal cells top-k takes any, which ties of a saturated map tell from the op's.
    """
    values, cells = coverage.flatten(1).topk(min(CAPACITY, coverage[0].numel()), largest=False)
    place = torch.arange(values.shape[1], device=values.device)
    room = (~alive).sum(1, keepdim=True)
    taken = (place < room) & ((values < THRESHOLD) | ((place < MIN_SPAWN) & (values < 1)))
    cells = torch.where(taken, cells, -1)
    return torch.nn.functional.pad(cells, (0, CAPACITY - cells.shape[1]), value=-1), taken.sum(1)


def smooth(batch: int, height: int, width: int, device: torch.device) -> Tensor:
    """A map of a quarter of the size, enlarged: free regions lie together, as those between objects do."""
    coarse = torch.rand(batch, 1, -(-height // 4), -(-width // 4), device=device)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[:, 0]


COVERAGES = {
    "at random": lambda *shape, device: torch.rand(*shape, device=device),
    "smooth": lambda *shape, device: smooth(*shape, device),
    "none": lambda *shape, device: torch.zeros(*shape, device=device),
    "full": lambda *shape, device: torch.ones(*shape, device=device),
}


@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 7, 11), (1, 50, 84), (4, 50, 84), (1, 100, 168), (8, 100, 168), (8, 16, 16)]
)
def bench_pyramid_spawn(measure: harness.Measure, batch: int, height: int, width: int, coverage: str) -> None:
    maps = COVERAGES[coverage](batch, height, width, device=measure.device)
    alive = torch.arange(SLOTS, device=measure.device).expand(batch, SLOTS) % 3 == 0
    options = {"capacity": CAPACITY, "max_alive": SLOTS, "threshold": THRESHOLD, "min_spawn": MIN_SPAWN}
    measure(
        f"{batch}x{height}x{width}, coverage {coverage}",
        ours=lambda: ldie_ext.pyramid_spawn(maps, alive, **options),
        composed=lambda: composed(maps, alive),
        read_bytes=harness.bytes_of(maps, alive),
    )


def guided(coverage: Tensor, guide: Tensor) -> Tensor:
    return 1 - guide.amax(1).sigmoid() * (1 - coverage)


def middles(cells: Tensor, width: int, step: float) -> Tensor:
    x, y = cells % width, cells // width
    places = (torch.stack([x, y], -1) + 0.5) * step
    return places.masked_fill((cells < 0)[..., None], float("nan"))


@pytest.mark.parametrize(
    ("batch", "classes", "height", "width"), [(1, 1, 50, 84), (4, 8, 50, 84), (1, 80, 50, 84), (8, 1, 16, 16)]
)
def bench_pyramid_spawn_guided(measure: harness.Measure, batch: int, classes: int, height: int, width: int) -> None:
    maps, guide = (torch.rand(batch, *rest, height, width, device=measure.device) for rest in ((), (classes,)))
    alive = torch.arange(SLOTS, device=measure.device).expand(batch, SLOTS) % 3 == 0
    options = {"capacity": CAPACITY, "max_alive": SLOTS, "threshold": THRESHOLD, "min_spawn": MIN_SPAWN}

    def compose() -> tuple[Tensor, ...]:
        cells, counts = composed(guided(maps, guide), alive)
        return cells, counts, middles(cells, width, 8.0)

    measure(
        f"{batch}x{height}x{width}, guide of {classes}",
        ours=lambda: ldie_ext.pyramid_spawn(maps, alive, **options, guide=guide, step=8.0),
        composed=compose,
        read_bytes=harness.bytes_of(maps, alive, guide),
    )
