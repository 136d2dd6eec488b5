"""solo_assign against an object by object, cell by cell reference, on every backend."""

from __future__ import annotations

import random
from typing import Any

import pytest
import reference.solo as reference
import torch
from backends import SANITIZED, Backend
from masks.mask_inputs import pack
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_offsets
from torch import Tensor

import ldie_ext

INF, NAN = float("inf"), float("nan")
GRIDS, RANGES = [5, 4, 2], [(1.0, 20.0), (10.0, 40.0), (30.0, INF)]
SIZE = (48, 64)
CONVENTIONS: dict[str, dict[str, bool]] = {
    "official": {"skip_empty": True, "clamp": True, "by_area": False},
    "seed": {"skip_empty": False, "clamp": False, "by_area": True},
}

Objects = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Ranges = list[tuple[float, float]]


def objects(count: int, batch: int, size: tuple[int, int] = SIZE, *, step: float = 0.0) -> Objects:
    """Boxes, labels, centres, areas and offsets; coordinates are multiples of a step, where one is given."""
    extent = torch.tensor([size[1], size[0]])
    center = (torch.rand(count, 2, dtype=torch.float64) * 1.4 - 0.2) * extent
    side = torch.rand(count, 2, dtype=torch.float64) ** 2 * extent
    mass = center + (torch.rand(count, 2, dtype=torch.float64) - 0.5) * side
    if step:
        center, side, mass = ((each / step).round() * step for each in (center, side, mass))
    boxes = torch.cat([center - side / 2, center + side / 2], 1)
    areas = torch.randint(0, 5, (count,))  # many are equal, and some masks are empty
    return boxes.float(), torch.randint(-1, 9, (count,)), mass.float(), areas, random_offsets(batch, count)


def on(backend: Backend, inputs: Objects) -> list[Tensor]:
    return [tensor.to(backend.device) for tensor in inputs]


def assert_matches_reference(
    backend: Backend,
    inputs: Objects,
    size: tuple[int, int],
    grids: list[int],
    ranges: list[tuple[float, float]],
    **options: Any,
) -> None:
    convention = options.pop("convention", "official")
    masks, packed = options.pop("masks", None), options.pop("packed", False)
    choices = CONVENTIONS[convention] | {name: value for name, value in options.items() if name == "clamp"}
    choices["by_area"] = options["order"] == "area" if "order" in options else choices["by_area"]
    expected = reference.solo_assign(
        *inputs, size, grids, ranges, sigma=options.get("sigma", 0.2), masks=masks, **choices
    )
    if masks is not None:
        options["masks"] = (pack(masks) if packed else masks).to(backend.device)
        options["packed_width"] = size[1] if packed else None
    targets = ldie_ext.solo_assign(*on(backend, inputs), size, grids, ranges, convention=convention, **options)
    assert_same((targets.labels.cpu(), targets.instances.cpu()), expected)


def borderline(rng: random.Random, size: tuple[int, int], grids: list[int], inputs: Objects) -> Objects:
    """Centres and edges of regions exactly on the borders of cells of some grid, or the next number beside one."""
    boxes, labels, centers, areas, offsets = inputs
    for row in range(len(boxes)):
        side = rng.choice(grids)
        for axis, extent in enumerate((size[1], size[0])):
            border = torch.tensor(rng.randint(0, side) * extent / side, dtype=torch.float32)
            away = torch.tensor(rng.choice([-INF, INF]), dtype=torch.float32)
            centers[row, axis] = rng.choice([border, torch.nextafter(border, away)])
            if rng.random() < 0.5:  # the region for a sigma of a power of two ends on a border, too
                half = rng.randint(0, 8) * extent / side
                boxes[row, axis], boxes[row, axis + 2] = border - half, border + half
    return boxes, labels, centers, areas, offsets


def spoiled(rng: random.Random, inputs: Objects) -> Objects:
    """With some coordinates that are no numbers of pixels, and boxes without width or of a negative one."""
    boxes, _, centers, *_ = inputs
    for row in range(len(boxes)):
        if rng.random() < 0.2:
            rng.choice([boxes, centers])[row, rng.randrange(2)] = rng.choice([NAN, INF, -INF, 3e38, -3e38])
        if rng.random() < 0.2:
            boxes[row, 2] = boxes[row, 0] - rng.choice([0, 0, 1])
    return inputs


def random_case(number: int) -> tuple[Objects, tuple[int, int], dict[str, Any]]:
    rng = random.Random(number)
    torch.manual_seed(number)
    size = rng.choice([SIZE, (1, 1), (3, 50), (37, 41), (40, 40)])
    grids = rng.choice([[5, 4, 2], [7, 3], [1], [6, 6, 6, 5, 1]])
    ranges = [
        (low, low + rng.choice([0.0, 10.0, 60.0, INF])) for low in (rng.choice([0.0, 1.0, 8.0, 20.0]) for _ in grids)
    ]
    inputs = objects(rng.choice([0, 1, 3, 6]), rng.choice([1, 2, 3]), size, step=rng.choice([0.0, 0.5, 4.0]))
    if number % 3 == 1:
        inputs = borderline(rng, size, grids, inputs)
    if number % 3 == 2:
        inputs = spoiled(rng, inputs)
    options: dict[str, Any] = {
        "convention": rng.choice(["official", "seed"]), "sigma": rng.choice([0.2, 0.25, 0.5, 1.0, 0.0, 3.0])
    }  # fmt: skip
    if rng.random() < 0.3:
        options |= {"clamp": rng.random() < 0.5, "order": rng.choice(["given", "area"])}
    if rng.random() < 0.4:
        options |= {"masks": torch.rand(len(inputs[0]), *size) < 0.5, "packed": rng.random() < 0.5}
    return inputs, size, options | {"grids": grids, "ranges": ranges}


@pytest.mark.sanitize
def test_matches_reference(backend: Backend) -> None:
    for number in range(40 if SANITIZED else 500):
        inputs, size, options = random_case(number)
        assert_matches_reference(backend, inputs, size, options.pop("grids"), options.pop("ranges"), **options)


def test_cells_are_exact(backend: Backend) -> None:
    """Coordinates on the border of a cell and the numbers next to it, some of which a quotient rounds to it."""
    rng = random.Random(0)
    rounded = 0
    for _ in range(40):
        side, extent = rng.randint(2, 50), rng.randint(1, 3000)
        border = rng.randint(1, side - 1) * extent / side
        beside = [border * (1 + step * 2.0**-52) for step in range(-4, 5)]
        centers = torch.tensor([[each, 0.0] for each in beside], dtype=torch.float64)
        boxes, ones = torch.cat([centers, centers], 1), torch.ones(9, dtype=torch.int64)
        inputs = boxes, ones, centers, ones, torch.arange(10)
        assert_matches_reference(backend, inputs, (1, extent), [side], [(0.0, 1.0)])
        rounded += sum(int(each * side / extent) != reference.cell(each, extent, side) for each in beside)
    assert rounded > 10


def test_later_and_smaller_objects_win(backend: Backend) -> None:
    boxes = torch.tensor([[0.0, 0, 30, 30], [2, 2, 28, 28], [1, 1, 29, 29]])
    areas, centers = torch.tensor([300, 700, 300]), torch.full((3, 2), 15.0)
    inputs = on(backend, (boxes, torch.tensor([5, 6, 7]), centers, areas, torch.tensor([0, 3])))
    given = ldie_ext.solo_assign(*inputs[:3], inputs[3].flip(0) * 0 + 1, inputs[4], (30, 30), [1], [(1, 99)])
    assert given.labels.tolist() == [[7]]
    assert ldie_ext.solo_assign(*inputs, (30, 30), [1], [(1, 99)], order="area").instances.tolist() == [[2]]
    inputs[3][2] = 301
    assert ldie_ext.solo_assign(*inputs, (30, 30), [1], [(1, 99)], order="area").instances.tolist() == [[0]]


def test_conventions_of_empty_masks(backend: Backend) -> None:
    boxes, centers = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[99.0, 99.0]])
    inputs = on(backend, (boxes, torch.tensor([1]), centers, torch.tensor([0]), torch.tensor([0, 1])))
    official = ldie_ext.solo_assign(*inputs, (32, 32), [4], [(1, 99)])
    assert (official.labels == -1).all()
    seed = ldie_ext.solo_assign(*inputs, (32, 32), [4], [(1, 99)], convention="seed")
    assert (seed.labels[0] == 1).nonzero().flatten().tolist() == [0, 1, 4, 5]  # 8 +- 1.6 lies about a border


def test_many_objects(backend: Backend) -> None:
    """More than a block lists at once; most cells are wanted by several."""
    inputs = objects(300, 2)
    for options in ({}, {"convention": "seed"}, {"masks": torch.rand(300, *SIZE) < 0.5, "sigma": 1.0}):
        assert_matches_reference(backend, inputs, SIZE, GRIDS, RANGES, **options)


@pytest.mark.parametrize(("batch", "count"), [(1, 0), (3, 0), (4, 2)])
def test_images_without_objects(backend: Backend, batch: int, count: int) -> None:
    inputs = objects(count, batch)
    assert_matches_reference(backend, inputs, SIZE, GRIDS, RANGES)
    nothing = ldie_ext.solo_assign(*on(backend, inputs), SIZE, [], [])
    assert nothing.labels.shape == nothing.instances.shape == (batch, 0)


def test_no_images(backend: Backend) -> None:
    inputs = [tensor[:0] for tensor in objects(3, 1)[:4]]
    targets = ldie_ext.solo_assign(*on(backend, (*inputs, torch.tensor([0]))), SIZE, GRIDS, RANGES)  # type: ignore[arg-type]
    assert targets.labels.shape == (0, 45)


def test_finest_grid_of_the_largest_image(backend: Backend) -> None:
    side, extent = 128, 2**30
    boxes = torch.tensor([[0.0, 0.0, extent, extent]], dtype=torch.float64)
    inputs = boxes, torch.tensor([4]), boxes[:, 2:] - 1, torch.tensor([2**40]), torch.tensor([0, 1])
    assert_matches_reference(backend, inputs, (extent, extent), [side], [(0.0, INF)])
    targets = ldie_ext.solo_assign(*on(backend, inputs), (extent, extent), [side], [(0.0, INF)])
    assert targets.labels[0, -1] == 4


def test_dtypes_and_strides(backend: Backend) -> None:
    """16 bits are taken as float32; mixed dtypes meet in float64."""
    inputs = objects(9, 2, step=4.0)
    boxes, labels, centers, areas, offsets = on(backend, inputs)
    expected = ldie_ext.solo_assign(boxes, labels, centers, areas, offsets, SIZE, GRIDS, RANGES)
    half = ldie_ext.solo_assign(boxes.half(), labels, centers.bfloat16(), areas, offsets, SIZE, GRIDS, RANGES)
    mixed = ldie_ext.solo_assign(boxes.double(), labels, centers, areas, offsets, SIZE, GRIDS, RANGES)
    strided = ldie_ext.solo_assign(
        boxes.t().contiguous().t(), labels.repeat_interleave(2)[::2], centers.t().contiguous().t(),
        areas.repeat_interleave(2)[::2], offsets.repeat_interleave(2)[::2], SIZE, GRIDS, RANGES,
    )  # fmt: skip
    for targets in (half, mixed, strided):
        assert_same(tuple(targets), tuple(expected))


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, labels, centers, areas, offsets = on(backend, objects(4, 2))
    rest = SIZE, GRIDS, RANGES

    def refuses(match: str, error: type[Exception], *arguments: Any, **options: Any) -> None:
        with pytest.raises(error, match=match):
            ldie_ext.solo_assign(*arguments, **options)

    refuses(
        r"boxes must have shape \[G, 4\], got \[4, 3\]",
        RuntimeError,
        boxes[:, :3],
        labels,
        centers,
        areas,
        offsets,
        *rest,
    )
    refuses("labels must be int64", RuntimeError, boxes, labels.int(), centers, areas, offsets, *rest)
    refuses(r"centers must have shape \[G, 2\]", RuntimeError, boxes, labels, centers[:3], areas, offsets, *rest)
    refuses("areas must be int64", RuntimeError, boxes, labels, centers, areas.float(), offsets, *rest)
    given = boxes, labels, centers, areas, offsets
    refuses(r"size must be at least 1, got \(0, 64\)", RuntimeError, *given, (0, 64), GRIDS, RANGES)
    refuses("grids must be 1 to 32768 cells a side, got 0", RuntimeError, *given, SIZE, [0], [(1, 2)])
    refuses("grids must be those of at most 16 levels, got 17", RuntimeError, *given, SIZE, [1] * 17, [(1, 2)] * 17)
    refuses("scale_ranges must have a pair for each of the 3 levels", RuntimeError, *given, SIZE, GRIDS, RANGES[:2])
    refuses("scale_ranges must be pairs low <= high", RuntimeError, *given, SIZE, [1], [(2, 1)])
    for sides in ((48, 64, 3), (48,)):
        refuses("size must be", TypeError, *given, sides, GRIDS, RANGES)
    refuses("scale_ranges must be", TypeError, *given, SIZE, GRIDS[:2], [(1, 2, 3), (4,)])
    refuses("sigma must be at least 0 and finite, got -1", RuntimeError, *given, *rest, sigma=-1)
    refuses("convention must be one of", ValueError, *given, *rest, convention="solo")
    for order in ("score", ""):
        refuses("order must be one of", ValueError, *given, *rest, order=order)
    masks = torch.zeros(4, *SIZE, dtype=torch.bool, device=backend.device)
    refuses("masks must be 4, one per box, of height 48", RuntimeError, *given, *rest, masks=masks[:3])
    refuses("masks must have shape", RuntimeError, *given, *rest, masks=masks[..., :63])
    refuses(
        "packed_width must be the width of size, 64, got 63", ValueError, *given, *rest, masks=masks, packed_width=63
    )
    if backend.device.type == "cpu":
        refuses("offsets must rise from 0", RuntimeError, *given[:4], torch.tensor([0, 3, 2]), *rest)


def test_dispatcher_contract(backend: Backend) -> None:
    masks = torch.rand(6, *SIZE) < 0.5
    arguments = *on(backend, objects(6, 2)), *SIZE, GRIDS, [1.0, 20.0, 10.0, 40.0, 30.0, INF], 0.2, True, True, False
    torch.library.opcheck(backend.op("solo_assign"), (*arguments, None, False))
    torch.library.opcheck(backend.op("solo_assign"), (*arguments, masks.to(backend.device), False))


def test_compiles(backend: Backend) -> None:
    inputs = on(backend, objects(6, 2))
    assert_compiles(lambda *tensors: tuple(ldie_ext.solo_assign(*tensors, SIZE, GRIDS, RANGES)), *inputs)


def test_threads_agree() -> None:
    inputs = objects(400, 60)
    assert_threads_agree(lambda: tuple(ldie_ext.solo_assign(*inputs, SIZE, [40, 36, 24], RANGES)))
