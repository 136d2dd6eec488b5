"""polygons_to_masks against pycocotools: the same pixels, on every backend."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from backends import Backend
from masks.polygon_inputs import coco_masks, random_instances, unpack
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

SIZES = [(1, 1), (7, 5), (33, 64), (64, 33), (70, 130)]


def draw(instances: list, size: tuple[int, int], backend: Backend, **options: object) -> np.ndarray:
    polygons = ldie_ext.Polygons.from_coco(instances).to(backend.device)
    return ldie_ext.polygons_to_masks(polygons, size, **options).cpu().numpy()


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
def test_same_pixels_as_coco(backend: Backend, size: tuple[int, int]) -> None:
    instances = [*random_instances(12, max(size), seed=size[0]), []]
    expected = coco_masks(instances, *size)
    np.testing.assert_array_equal(draw(instances, size, backend), expected)
    packed = draw(instances, size, backend, packed=True)
    assert packed.shape == (13, size[0], (size[1] + 7) // 8)
    np.testing.assert_array_equal(unpack(packed, size[1]), expected)
    assert not np.unpackbits(packed, axis=-1, bitorder="little")[..., size[1] :].any()


def test_three_thousand_random_polygons() -> None:
    for seed in range(30):
        size = tuple(np.random.default_rng(seed).integers(1, 90, 2).tolist())
        instances = random_instances(100, max(size), seed)
        masks = ldie_ext.polygons_to_masks(ldie_ext.Polygons.from_coco(instances), size)
        np.testing.assert_array_equal(masks.numpy(), coco_masks(instances, *size))


def test_big_rectangles(backend: Backend) -> None:
    """Several rectangles of the kernel in both directions, and memory that comes zeroed on the CPU."""
    size = (300, 530)
    instances = random_instances(3, 500, seed=5)
    np.testing.assert_array_equal(draw(instances, size, backend), coco_masks(instances, *size))


def test_real_annotations() -> None:
    folder = os.environ.get("LDIE_SHARED")
    if folder is None or not (root := Path(folder) / "data" / "coco_free" / "annotations").exists():
        pytest.skip("LDIE_SHARED names no folder with data/coco_free")
    drawn = 0
    for file in sorted(root.glob("instances_*.json")):
        content = json.loads(file.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for annotation in content["annotations"]:
            if isinstance(annotation["segmentation"], dict):
                continue
            instances, size = [annotation["segmentation"]], sizes[annotation["image_id"]]
            masks = ldie_ext.polygons_to_masks(ldie_ext.Polygons.from_coco(instances), size)
            np.testing.assert_array_equal(masks.numpy(), coco_masks(instances, *size))
            drawn += 1
    assert drawn > 1000


def test_degenerate_polygons(backend: Backend) -> None:
    size = (6, 9)
    nothing = [[], [[]], [[2, 2]], [[1, 1, 5, 5]], [[1, 1, 1, 1, 1, 1]], [[1, 0, 4, 0, 8, 0]]]
    outside = [[[-9, -9, -3, -9, -3, -3]], [[20, 20, 30, 20, 30, 30]], [[0, -8, 9, -8, 9, -2, 0, -2]]]
    everything = [[[-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300]]]
    masks = draw(nothing + outside + everything, size, backend)
    assert not masks[:-1].any()
    assert masks[-1].all()


def test_not_a_number_stays_in_bounds(backend: Backend) -> None:
    nan, inf = float("nan"), float("inf")
    coords = torch.tensor([[nan, 1.0], [inf, -inf], [3.0, nan], [2.0, 2.0]], dtype=torch.float64)
    polygons = ldie_ext.Polygons(coords, torch.tensor([0, 4]), torch.tensor([0, 1])).to(backend.device)
    assert ldie_ext.polygons_to_masks(polygons, (5, 5)).shape == (1, 5, 5)


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_empty(backend: Backend, size: tuple[int, int]) -> None:
    assert draw(random_instances(2, 4), size, backend).shape == (2, *size)
    assert draw([], (4, 4), backend).shape == (0, 4, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_out(backend: Backend, packed: bool) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(3, 20)).to(backend.device)
    expected = ldie_ext.polygons_to_masks(polygons, (20, 21), packed=packed)
    out = torch.full_like(expected, 1)
    assert ldie_ext.polygons_to_masks(polygons, (20, 21), packed=packed, out=out) is out
    assert_same(out, expected)


def test_large_masks_start_from_zero() -> None:
    instances, size = random_instances(20, 1300), (1300, 1400)
    masks = ldie_ext.polygons_to_masks(ldie_ext.Polygons.from_coco(instances), size)
    assert masks.nbytes >= 32 << 20
    np.testing.assert_array_equal(masks.numpy(), coco_masks(instances, *size))


def test_errors_name_the_argument(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    call = ldie_ext.polygons_to_masks
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(polygons, (-1, 4))
    with pytest.raises(RuntimeError, match="out must be bool"):
        call(polygons, (4, 4), out=torch.zeros(2, 4, 4, device=backend.device))
    with pytest.raises(RuntimeError, match=r"out must have shape \[N, H, ceil\(W / 8\)\]"):
        call(polygons, (4, 4), packed=True, out=torch.zeros(2, 4, 4, dtype=torch.uint8, device=backend.device))
    with pytest.raises(RuntimeError, match="out must be contiguous"):
        call(polygons, (4, 4), out=torch.zeros(2, 4, 8, dtype=torch.bool, device=backend.device)[..., ::2])
    if backend.device.type == "cpu":
        wrong = torch.tensor([0, 1])
        with pytest.raises(RuntimeError, match="part_offsets must rise from 0 to the number of points"):
            call(ldie_ext.Polygons(polygons.coords, wrong, polygons.instance_offsets), (4, 4))
        with pytest.raises(RuntimeError, match="instance_offsets must rise from 0 to the number of parts"):
            call(ldie_ext.Polygons(polygons.coords, polygons.part_offsets, wrong + 1), (4, 4))


def test_non_contiguous(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(3, 20)).to(backend.device)
    strided = ldie_ext.Polygons(
        polygons.coords.t().contiguous().t(),
        polygons.part_offsets.repeat_interleave(2)[::2],
        polygons.instance_offsets.repeat_interleave(3)[::3],
    )
    assert_same(ldie_ext.polygons_to_masks(strided, (9, 9)), ldie_ext.polygons_to_masks(polygons, (9, 9)))


def test_dispatcher_contract(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    out = torch.zeros(2, 8, 9, dtype=torch.bool, device=backend.device)
    torch.library.opcheck(backend.op("polygons_to_masks"), (*tensors, 8, 9, True))
    torch.library.opcheck(backend.op("polygons_to_masks_out"), (*tensors, 8, 9, False, out))


def test_compiles(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)

    def function(coords: torch.Tensor) -> torch.Tensor:
        inputs = ldie_ext.Polygons(coords, polygons.part_offsets, polygons.instance_offsets)
        return ldie_ext.polygons_to_masks(inputs, (8, 9))

    assert_compiles(function, polygons.coords)


def test_threads_agree() -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(40, 300))
    assert_threads_agree(lambda: ldie_ext.polygons_to_masks(polygons, (300, 310)))
