"""pyramid_spawn against sorted lists of cells, on every backend."""

from __future__ import annotations

import math
from typing import Any

import pytest
import reference.pyramid_selection as reference
import torch
from backends import CPU, Backend, emulated_launches
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ROOM: dict[str, Any] = {"capacity": 80, "max_alive": 80}


def assert_matches_reference(backend: Backend, coverage: Tensor, alive: Tensor, **options: Any) -> None:
    moved = {name: value.to(backend.device) if isinstance(value, Tensor) else value for name, value in options.items()}
    spawn = ldie_ext.pyramid_spawn(coverage.to(backend.device), alive.to(backend.device), **moved)
    cells, counts, places = reference.pyramid_spawn(coverage, alive, **options)
    assert (spawn.cells.tolist(), spawn.counts.tolist()) == (cells, counts)
    assert_same(spawn.places.cpu(), torch.tensor(places, dtype=torch.float64).float().view(spawn.places.shape))


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


def assert_guided(backend: Backend, coverage: Tensor, guide: Tensor, **options: Any) -> None:
    """Cells in the order of the guided coverage, but those that rounding makes equal or unequal."""
    alive = some_alive(len(coverage))
    given = (each.to(backend.device) for each in (coverage, alive))
    spawn = ldie_ext.pyramid_spawn(*given, guide=guide.to(backend.device), **options)
    cells, counts, _ = reference.pyramid_spawn(coverage, alive, guide=guide, **options)
    assert spawn.counts.tolist() == counts
    step = options.get("step", 1.0)
    for image, count in enumerate(counts):
        values = reference.guided_image(coverage[image], guide[image])
        found = spawn.cells[image, :count].tolist()
        assert [values[cell] for cell in found] == pytest.approx(
            [values[cell] for cell in cells[image][:count]], abs=2e-7
        )
        assert len({*found}) == count and {*spawn.cells[image, count:].tolist()} <= {-1}
        middles = [
            ((cell % coverage.shape[2] + 0.5) * step, (cell // coverage.shape[2] + 0.5) * step) for cell in found
        ]
        assert_same(spawn.places[image, :count].cpu(), torch.tensor(middles, dtype=torch.float64).float().view(-1, 2))
        assert spawn.places[image, count:].isnan().all()


@pytest.mark.sanitize
@pytest.mark.parametrize("part", range(3))
def test_guide(backend: Backend, part: int) -> None:
    for case in range(part, 500 if backend is CPU else 120, 3):
        coverage = random_coverage(case)
        guide = 4 * torch.randn(len(coverage), 1 + case % 5, *coverage.shape[1:])
        if case % 4 == 0:
            guide[torch.rand(guide.shape) < 0.05] = (math.nan, math.inf, -1e30)[case % 3]
        options = {
            "capacity": 1 + case % 90,
            "max_alive": 90,
            "min_spawn": case % 7,
            "threshold": float(torch.rand(())),
        }
        assert_guided(backend, coverage, guide.to(FLOATS[case // 4 % 4]), step=(1, 8, 0.3)[case % 3], **options)


def test_guides_that_are_exact(backend: Backend) -> None:
    """None, half and whole: of equal guided coverage the lower cell comes first."""
    for dtype in FLOATS:
        coverage = (torch.randint(9, (2, 20, 30)) / 8).to(dtype)
        guide = torch.tensor([-math.inf, 0.0, math.inf]).to(dtype)[torch.randint(3, (2, 1, 20, 30))]
        assert_matches_reference(backend, coverage, some_alive(2), **ROOM, threshold=0.6, guide=guide)


def test_guide_decides(backend: Backend) -> None:
    """Where no object is, all is covered; of several classes the likeliest counts, and NaN covers a cell."""
    coverage = torch.tensor([[[0.0, 0.1, 0.5, 0.0, 0.0, -math.inf]]])
    guide = torch.tensor([[-math.inf, 0.0, 9.0, math.nan, 3.0, -5.0], [-200.0, -1.0, -9.0, 9.0, -math.inf, -7.0]])
    given = coverage.to(backend.device), some_alive(1, 0).to(backend.device)
    guide = guide.view(1, 2, 1, 6).to(backend.device)

    def cells(**options: Any) -> list[int]:
        spawn = ldie_ext.pyramid_spawn(*given, capacity=6, max_alive=9, **options)
        return spawn.cells[0, : int(spawn.counts)].tolist()

    assert cells(threshold=0.6) == [5, 0, 3, 4, 1, 2]
    assert cells(threshold=0.6, guide=guide) == [5, 4, 2, 1]
    assert cells(threshold=0.52, guide=guide) == [5, 4, 2]
    assert cells(threshold=0.01, guide=guide, min_spawn=6) == [5, 4, 2, 1]
    assert cells(threshold=0.52, guide=guide[:, :1]) == [5, 4, 2]


def test_guide_of_many_classes_on_a_large_map(backend: Backend) -> None:
    """Several tiles, and more classes than are read at a time."""
    coverage, guide = torch.rand(2, 60, 84), 2 * torch.randn(2, 19, 60, 84)
    assert_guided(backend, coverage, guide, **ROOM, threshold=0.9, step=16)


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
        assert_matches_reference(
            backend, torch.zeros(shape), some_alive(shape[0]), **ROOM, guide=torch.zeros(shape)[:, None]
        )
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
    guide = torch.randn(3, 2, 9, 14).to(backend.device)
    strided = coverage.permute(2, 0, 1).contiguous().permute(1, 2, 0), alive.repeat_interleave(2, 1)[:, ::2]
    channels_last = guide.to(memory_format=torch.channels_last)
    assert_same(
        tuple(ldie_ext.pyramid_spawn(*strided, **ROOM, guide=channels_last)),
        tuple(ldie_ext.pyramid_spawn(coverage, alive, **ROOM, guide=guide)),
    )


def test_takes_no_gradient(backend: Backend) -> None:
    coverage = torch.rand(1, 4, 5).to(backend.device).requires_grad_()
    guide = torch.rand(1, 1, 4, 5).to(backend.device).requires_grad_()
    spawn = ldie_ext.pyramid_spawn(coverage, some_alive(1).to(backend.device), **ROOM, guide=guide)
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
    for step in (0.0, -2.0, math.inf, math.nan):
        expect(f"step must be above 0 and finite, got {step:g}", step=step)
    expect("guide must be float32, float64, float16 or bfloat16, got .* bool", guide=coverage[:, None] > 0)
    expect(r"guide must have shape \[B, K, h, w\], K maps per coverage, got \[2, 4, 5\]", guide=coverage)
    expect(r"guide must have shape \[B, K, h, w\]", guide=coverage[:1, None])
    expect(r"guide must have a class, got \[2, 0, 4, 5\]", guide=coverage[:, None][:, :0])
    huge = torch.zeros(1, 1, 1, dtype=torch.bfloat16, device=backend.device).expand(2, 2**16, 2**15)
    expect(r"coverage must have fewer than 2\^31 cells an image", huge)


def test_dispatcher_contract(backend: Backend) -> None:
    """All places are used: opcheck takes NaN for a difference."""
    coverage, alive = torch.rand(2, 9, 14).to(backend.device), some_alive(2).to(backend.device)
    for guide in (None, torch.rand(2, 3, 9, 14).to(backend.device)):
        torch.library.opcheck(backend.op("pyramid_spawn"), (coverage, alive, guide, 20, 80, 0.2, 20, 8.0))


def test_compiles(backend: Backend) -> None:
    coverage, alive = torch.rand(2, 9, 14).to(backend.device), some_alive(2).to(backend.device)
    guide = torch.rand(2, 3, 9, 14).to(backend.device)
    assert_compiles(
        lambda *tensors: tuple(ldie_ext.pyramid_spawn(*tensors[:2], guide=tensors[2], step=8, **ROOM)),
        coverage, alive, guide,
    )  # fmt: skip


def test_launches(backend: Backend) -> None:
    """One, and one more with a guide."""
    if backend.name != "emulated":
        pytest.skip("only the emulator counts launches")
    for launches, options in ((1, ROOM), (2, ROOM | {"guide": torch.rand(3, 2, 9, 14)})):
        before = emulated_launches()
        ldie_ext.pyramid_spawn(torch.rand(3, 9, 14), some_alive(3), **options)
        assert emulated_launches() - before == launches


def test_threads_agree() -> None:
    coverage, alive = torch.rand(6, 100, 168), some_alive(6)
    guide = torch.randn(6, 2, 100, 168)
    assert_threads_agree(lambda: tuple(ldie_ext.pyramid_spawn(coverage, alive, **ROOM)))
    assert_threads_agree(lambda: tuple(ldie_ext.pyramid_spawn(coverage, alive, **ROOM, guide=guide)))
