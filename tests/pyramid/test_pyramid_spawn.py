"""pyramid_spawn against sorted lists of cells, on every backend."""

from __future__ import annotations

import math
from typing import Any

import pytest
import reference.pyramid_selection as reference
import torch
from backends import Backend, emulated_launches
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ROOM: dict[str, Any] = {"capacity": 80, "max_alive": 80}


def assert_matches_reference(backend: Backend, coverage: Tensor, alive: Tensor, **options: Any) -> None:
    spawn = ldie_ext.pyramid_spawn(coverage.to(backend.device), alive.to(backend.device), **options)
    assert (spawn.cells.tolist(), spawn.counts.tolist()) == reference.pyramid_spawn(coverage, alive, **options)


def some_alive(batch: int, slots: int = 80, share: float = 0.3) -> Tensor:
    return torch.rand(batch, slots) < share


def random_coverage(case: int) -> Tensor:
    """Few different values or many, some of them NaN, infinite or out of range, of all dtypes."""
    batch, height, width = (int(torch.randint(high, ())) for high in (4, 24, 60))
    coverage = 1.3 * torch.rand(batch, height, width) - 0.1
    if case % 3:
        coverage = (coverage * case % 30).round() / (case % 30 + 1)
    if case % 5 == 0:
        coverage[torch.rand(coverage.shape) < 0.1] = (math.nan, math.inf, -math.inf)[case % 3]
    return coverage.to(FLOATS[case % 4])


@pytest.mark.parametrize("part", range(5))
def test_random_cases(backend: Backend, part: int) -> None:
    for case in range(part, 500, 5):
        coverage = random_coverage(case)
        alive = some_alive(len(coverage), int(torch.randint(60, ())), float(torch.rand(())))
        capacity, most, least = (int(torch.randint(high, ())) for high in (150, 150, 40))
        options = {"capacity": capacity + 1, "max_alive": most, "min_spawn": least * (case % 2)}
        assert_matches_reference(backend, coverage, alive, threshold=float(torch.rand(()) * 1.3 - 0.1), **options)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    coverage, alive = torch.rand(2, 19, 37).to(dtype), some_alive(2)
    for threshold, min_spawn in [(0.2, 0), (0.01, 20), (0.5, 8), (-1.0, 30), (math.inf, 0), (-math.inf, 0)]:
        assert_matches_reference(backend, coverage, alive, **ROOM, threshold=threshold, min_spawn=min_spawn)


@pytest.mark.parametrize("size", [(50, 84), (100, 168)])
def test_maps_of_real_size(backend: Backend, size: tuple[int, int]) -> None:
    """At random, rising, falling and smooth: however early the lowest come, and wherever they lie."""
    y, x = (torch.arange(side) for side in size)
    ramp = torch.arange(float(y.numel() * x.numel())).view(size) / (y.numel() * x.numel())
    smooth = ((y[:, None] / 7).sin() * (x / 9).cos()).square()
    coverage = torch.stack([torch.rand(size), ramp, ramp.flip(0, 1), smooth])
    for capacity in (1, 80, 170, 171, 500):
        options = {"capacity": capacity, "max_alive": 600, "threshold": 0.5}
        assert_matches_reference(backend, coverage, some_alive(4), **options)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, 1.0, math.nan])
def test_equal_cells_by_index(backend: Backend, value: float) -> None:
    """Nothing is covered before the first hypothesis is there: the first cells are taken."""
    coverage = torch.full((1, 40, 50), value)
    assert_matches_reference(backend, coverage, some_alive(1, 80, 0.0), **ROOM)
    coverage[0, ::2] *= -1  # zeros of both signs are equal
    assert_matches_reference(backend, coverage, some_alive(1, 80, 0.0), **ROOM)


def test_threshold_is_compared_in_the_dtype(backend: Backend) -> None:
    """0.2 as a float32 is above 0.2; a cell that is equal to the threshold is not below it."""
    for dtype in (torch.float32, torch.float64):
        coverage = torch.tensor([[[0.2, math.nextafter(0.2, 0.0), 0.1]]], dtype=torch.float64).to(dtype)
        spawn = ldie_ext.pyramid_spawn(coverage.to(backend.device), some_alive(1).to(backend.device), **ROOM)
        assert spawn.cells[0, :3].tolist() == ([2, -1, -1] if dtype == torch.float32 else [2, 1, -1])
        assert_matches_reference(backend, coverage, some_alive(1), **ROOM)


def test_least_number(backend: Backend) -> None:
    """The lowest make it up, whether or not they are below the threshold, but none that is wholly covered."""
    coverage = torch.tensor([[[0.5, 1.0, 0.1], [0.3, 1.5, math.nan]]], device=backend.device)
    alive = torch.zeros(1, 4, dtype=torch.bool, device=backend.device)

    def cells(**options: Any) -> list[int]:
        spawn = ldie_ext.pyramid_spawn(coverage, alive, **({"capacity": 6, "max_alive": 99} | options))
        return spawn.cells[0, : int(spawn.counts)].tolist()

    assert cells() == [2]
    assert cells(min_spawn=1) == [2]
    assert cells(min_spawn=2) == [2, 3]
    assert cells(min_spawn=9) == [2, 3, 0]
    assert cells(min_spawn=9, capacity=2) == [2, 3]
    assert cells(min_spawn=9, max_alive=1) == [2]
    assert cells(min_spawn=9, threshold=2.0) == [2, 3, 0, 1, 4]


def test_room(backend: Backend) -> None:
    """As many are born as are missing to the most that may be alive; none where there are more already."""
    alive = (torch.arange(10) < torch.tensor([0, 5, 9, 10])[:, None]).to(backend.device)
    coverage = torch.zeros(4, 5, 5, device=backend.device)
    for max_alive, counts in [(9, [4, 4, 0, 0]), (12, [4, 4, 3, 2]), (7, [4, 2, 0, 0]), (0, [0, 0, 0, 0])]:
        spawn = ldie_ext.pyramid_spawn(coverage, alive, capacity=4, max_alive=max_alive)
        assert spawn.counts.tolist() == counts
        assert [(row >= 0).sum().item() for row in spawn.cells] == counts


def test_empty(backend: Backend) -> None:
    for shape in [(0, 4, 5), (2, 0, 5), (2, 4, 0)]:
        assert_matches_reference(backend, torch.zeros(shape), some_alive(shape[0]), **ROOM)
    assert_matches_reference(backend, torch.rand(2, 4, 5), some_alive(2, 0), **ROOM)


def test_numbers_beyond_all_cells(backend: Backend) -> None:
    coverage, alive = torch.rand(2, 6, 7), some_alive(2)
    most = 2**63 - 1
    assert_matches_reference(backend, coverage, alive, capacity=100, max_alive=most, min_spawn=most)


def test_batch_is_its_images(backend: Backend) -> None:
    coverage, alive = torch.rand(5, 50, 84).to(backend.device), some_alive(5).to(backend.device)
    together = ldie_ext.pyramid_spawn(coverage, alive, **ROOM)
    alone = [ldie_ext.pyramid_spawn(coverage[i : i + 1], alive[i : i + 1], **ROOM) for i in range(5)]
    assert_same(tuple(together), tuple(torch.cat(parts) for parts in zip(*alone, strict=True)))


def test_non_contiguous(backend: Backend) -> None:
    coverage, alive = torch.rand(3, 9, 14).to(backend.device), some_alive(3).to(backend.device)
    strided = coverage.permute(2, 0, 1).contiguous().permute(1, 2, 0), alive.repeat_interleave(2, 1)[:, ::2]
    assert_same(tuple(ldie_ext.pyramid_spawn(*strided, **ROOM)), tuple(ldie_ext.pyramid_spawn(coverage, alive, **ROOM)))


def test_takes_no_gradient(backend: Backend) -> None:
    coverage = torch.rand(1, 4, 5).to(backend.device).requires_grad_()
    spawn = ldie_ext.pyramid_spawn(coverage, some_alive(1).to(backend.device), **ROOM)
    assert not any(each.requires_grad for each in spawn)


def test_errors_name_the_argument(backend: Backend) -> None:
    coverage, alive = torch.rand(2, 4, 5).to(backend.device), some_alive(2).to(backend.device)

    def expect(message: str, coverage: Tensor = coverage, alive: Tensor = alive, **options: Any) -> None:
        with pytest.raises(RuntimeError, match=f"pyramid_spawn: {message}"):
            ldie_ext.pyramid_spawn(coverage, alive, **(ROOM | options))

    expect(r"coverage must have shape \[B, h, w\], got \[4, 5\] float32", coverage[0])
    expect("coverage must be float32, float64, float16 or bfloat16, got .* int64", coverage.long())
    expect("alive must be bool, got .* float32", alive=alive.float())
    expect(r"alive must have shape \[B, A\], one row per image, got \[1, 80\]", alive=alive[:1])
    expect("capacity must be at least 1, got 0", capacity=0)
    expect("max_alive must be at least 0, got -1", max_alive=-1)
    expect("min_spawn must be at least 0, got -3", min_spawn=-3)
    expect("threshold must be a number, got NaN", threshold=math.nan)
    huge = torch.zeros(1, 1, 1, dtype=torch.bfloat16, device=backend.device).expand(2, 2**16, 2**15)
    expect(r"coverage must have fewer than 2\^31 cells an image", huge)


def test_dispatcher_contract(backend: Backend) -> None:
    coverage, alive = torch.rand(2, 9, 14).to(backend.device), some_alive(2).to(backend.device)
    torch.library.opcheck(backend.op("pyramid_spawn"), (coverage, alive, 20, 60, 0.2, 4))


def test_compiles(backend: Backend) -> None:
    coverage, alive = torch.rand(2, 9, 14).to(backend.device), some_alive(2).to(backend.device)
    assert_compiles(lambda *tensors: tuple(ldie_ext.pyramid_spawn(*tensors, **ROOM)), coverage, alive)


def test_one_launch(backend: Backend) -> None:
    if backend.name != "emulated":
        pytest.skip("only the emulator counts launches")
    before = emulated_launches()
    ldie_ext.pyramid_spawn(torch.rand(3, 9, 14), some_alive(3), **ROOM)
    assert emulated_launches() - before == 1


def test_threads_agree() -> None:
    coverage, alive = torch.rand(6, 100, 168), some_alive(6)
    assert_threads_agree(lambda: tuple(ldie_ext.pyramid_spawn(coverage, alive, **ROOM)))
