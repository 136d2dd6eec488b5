"""mask_target_pyramid against cells counted one by one, on every backend, of masks in every form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends import SANITIZED, Backend
from masks.mask_inputs import pack, placed
from masks.polygon_inputs import coco_masks, random_instances
from op_checks import assert_same
from reference import mask_pyramid

import ldie_ext
from ldie_ext import RLE, MaskPyramid, Polygons

MODES = ("nearest", "bilinear", "area", "fraction")
ALL_STRIDES = tuple(2**i for i in range(15))
CASES = 20 if SANITIZED else 500
Masks = torch.Tensor | Polygons | RLE


def check(pyramid: MaskPyramid, masks: np.ndarray, strides: tuple[int, ...], mode: str, packed: bool) -> None:
    """Against the reference, digit for digit."""
    levels, centers, areas = mask_pyramid.mask_target_pyramid(masks, strides, mode)
    assert_same(pyramid.areas.cpu(), torch.from_numpy(areas))
    assert_same(pyramid.centers.cpu(), torch.from_numpy(centers))
    assert len(pyramid.levels) == len(levels)
    for found, cells in zip(pyramid.levels, levels, strict=True):
        expected = torch.from_numpy(cells.copy())
        assert_same(found.cpu(), pack(expected) if packed else expected)


def random_masks(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """bool [N, H, W]: noise of any density, blocks, single pixels and nothing."""
    masks = generator.random((generator.integers(1, 4), height, width)) < generator.choice([0.01, 0.3, 0.5, 0.9])
    for mask in masks:
        top, left = generator.integers(height), generator.integers(width)
        kind = generator.integers(4)
        if kind < 3:
            keep = mask.copy()
            mask[:] = False
            bottom, right = top + 1 + generator.integers(height), left + 1 + generator.integers(width)
            mask[top:bottom, left:right] = [keep[top:bottom, left:right], True, False][kind]
    return masks


def random_case(
    generator: np.random.Generator,
) -> tuple[np.ndarray, Masks, dict[str, int | tuple[int, int]]]:
    """Masks as NumPy's and in one of the forms that there are, with what that form asks for besides."""
    height, width = (int(generator.choice([1, 2, 7, 8, 33, 64, 70, int(generator.integers(1, 150))])) for _ in range(2))
    form = generator.choice(["bool", "uint8", "packed", "polygons", "rle", "rle, sized", "half", "strided"])
    if form == "polygons":
        instances = [*random_instances(2, max(height, width), int(generator.integers(2**31))), []]
        return coco_masks(instances, height, width), Polygons.from_coco(instances), {"size": (height, width)}
    masks = random_masks(generator, height, width)
    given = torch.from_numpy(masks)
    if form == "packed":
        return masks, placed(pack(given), int(generator.integers(17))), {"packed_width": width}
    if form.startswith("rle"):
        counts, offsets = torch.ops.ldie_ext.rle_encode(given, width, False, None)
        rle = RLE(counts, offsets, torch.tensor([[height, width]] * len(masks)))
        return masks, rle, {"size": (height, width)} if "sized" in form else {}
    if form == "bool":
        return masks, placed(given, int(generator.integers(17))), {}
    if form == "strided":
        return masks, given.mT.contiguous().mT, {}
    return masks, given.byte() * 3 if form == "uint8" else given.half() * 0.1, {}


@pytest.mark.sanitize
def test_random_cases(backend: Backend) -> None:
    generator = np.random.default_rng(0)
    seen = set()
    for number in range(CASES):
        masks, given, options = random_case(generator)
        strides = tuple(s for s in ALL_STRIDES if generator.random() < (0.5 if s < 256 else 0.1)) or (4,)
        mode = MODES[number % 4]
        packed = mode != "fraction" and bool(generator.integers(2))
        seen.add((type(given), mode, packed, strides[0], strides[-1]))
        pyramid = ldie_ext.mask_target_pyramid(given.to(backend.device), strides, mode=mode, packed=packed, **options)
        try:
            check(pyramid, masks, strides, mode, packed)
        except AssertionError as error:
            raise AssertionError(f"case {number}: {masks.shape}, {strides}, {mode}, packed {packed}") from error
    assert SANITIZED or len(seen) > 100
