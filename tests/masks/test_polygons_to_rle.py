"""polygons_to_rle against pycocotools: the same bytes, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends import Backend
from masks.polygon_inputs import Parts, random_instances
from op_checks import assert_compiles, assert_same, assert_threads_agree
from oracles import pycoco

import ldie_ext

SIZES = [(1, 1), (7, 5), (33, 64), (64, 33), (70, 130)]


def by_coco(instances: list[Parts], height: int, width: int) -> list[dict]:
    empty = pycoco.encode(np.zeros((height, width), np.uint8, order="F"))
    return [pycoco.merge(pycoco.frPyObjects(parts, height, width)) if parts else empty for parts in instances]


def encode(instances: list[Parts], size: tuple[int, int], backend: Backend, **options: int) -> ldie_ext.RLE:
    polygons = ldie_ext.Polygons.from_coco(instances).to(backend.device)
    return ldie_ext.polygons_to_rle(polygons, size, **options)


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
def test_same_bytes_as_coco(backend: Backend, size: tuple[int, int]) -> None:
    instances = [*random_instances(12, max(size), seed=size[0]), []]
    assert encode(instances, size, backend).to_coco() == by_coco(instances, *size)


def test_three_thousand_random_polygons() -> None:
    for seed in range(30):
        size = tuple(np.random.default_rng(seed).integers(1, 90, 2).tolist())
        instances = random_instances(100, max(size), seed)
        rle = ldie_ext.polygons_to_rle(ldie_ext.Polygons.from_coco(instances), size)
        assert rle.to_coco() == by_coco(instances, *size)


def test_is_the_encoding_of_the_masks(backend: Backend) -> None:
    """Whole images, borders, parts that touch, and coordinates that are no numbers."""
    full = [[-9, -9, 30, -9, 30, 30, -9, 30]]
    halves = [[0, 0, 5, 0, 5, 20, 0, 20], [5, 0, 20, 0, 20, 20, 5, 20]]
    lower = [[3, 6, 12, 6, 12, 40, 3, 40]]
    polygons = ldie_ext.Polygons.from_coco([full, halves, lower, lower + halves, [[2, 2]], []]).to(backend.device)
    polygons.coords[3, 0] = float("nan")
    polygons.coords[5, 1] = float("inf")
    for size in ((20, 20), (9, 13)):
        expected = ldie_ext.rle_encode(ldie_ext.polygons_to_masks(polygons, size))
        rle = ldie_ext.polygons_to_rle(polygons, size)
        assert_same((rle.counts, rle.offsets, rle.sizes), (expected.counts, expected.offsets, expected.sizes))


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_empty(backend: Backend, size: tuple[int, int]) -> None:
    assert encode(random_instances(2, 4), size, backend).counts.tolist() == [0, 0]
    none = encode([], (4, 4), backend)
    assert len(none) == 0
    assert none.offsets.tolist() == [0]


def test_room_for_a_fixed_number_of_runs(backend: Backend) -> None:
    instances = random_instances(5, 30)
    whole = encode(instances, (30, 31), backend)
    total = len(whole.counts)
    roomy = encode(instances, (30, 31), backend, max_runs=total + 3)
    assert_same(roomy.counts[:total], whole.counts)
    assert not roomy.counts[total:].any()
    tight = encode(instances, (30, 31), backend, max_runs=total - 3)
    assert_same(tight.counts, whole.counts[:-3])
    assert int(tight.offsets[-1]) == total


def test_non_contiguous(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(3, 20)).to(backend.device)
    strided = ldie_ext.Polygons(
        polygons.coords.t().contiguous().t(),
        polygons.part_offsets.repeat_interleave(2)[::2],
        polygons.instance_offsets.repeat_interleave(3)[::3],
    )
    assert_same(ldie_ext.polygons_to_rle(strided, (9, 9)).counts, ldie_ext.polygons_to_rle(polygons, (9, 9)).counts)


def test_errors_name_the_argument(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        ldie_ext.polygons_to_rle(polygons, (-1, 4))
    with pytest.raises(RuntimeError, match=r"less than 2\^31 pixels each, got size \(65536, 32768\)"):
        ldie_ext.polygons_to_rle(polygons, (65536, 32768))
    with pytest.raises(RuntimeError, match="max_runs must be at least 0"):
        ldie_ext.polygons_to_rle(polygons, (4, 4), max_runs=-1)


def test_dispatcher_contract(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    torch.library.opcheck(backend.op("polygons_to_rle"), (*tensors, 8, 9, 100))
    torch.library.opcheck(backend.op("polygons_to_rle"), (*tensors, 8, 9, None))


def test_compiles(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)

    def function(coords: torch.Tensor) -> torch.Tensor:
        inputs = ldie_ext.Polygons(coords, polygons.part_offsets, polygons.instance_offsets)
        return ldie_ext.polygons_to_rle(inputs, (8, 9), max_runs=100).counts

    assert_compiles(function, polygons.coords)


def test_threads_agree() -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(80, 100))
    assert_threads_agree(lambda: ldie_ext.polygons_to_rle(polygons, (100, 90)).counts)
