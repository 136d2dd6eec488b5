"""mask_target_pyramid against cells counted one by one, on every backend, of masks in every form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends import CPU, SANITIZED, Backend
from masks.mask_inputs import masks_of, pack, placed
from masks.polygon_inputs import coco_masks, random_instances
from op_checks import assert_compiles, assert_same, assert_threads_agree, peak_bytes
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
    masks = generator.random((generator.integers(1, 3), height, width)) < generator.choice([0.01, 0.3, 0.5, 0.9])
    for mask in masks:
        top, left = generator.integers(height), generator.integers(width)
        bottom, right = top + 1 + generator.integers(height), left + 1 + generator.integers(width)
        kind = generator.choice(["noise", "noise in a box", "box", "pixel", "nothing"])
        inside = {"noise in a box": mask[top:bottom, left:right].copy(), "box": True}.get(kind, False)
        if kind != "noise":
            mask[:] = False
            mask[top:bottom, left:right] = inside
            mask[top, left] = kind == "pixel" or mask[top, left]
    return masks


def random_case(
    generator: np.random.Generator,
) -> tuple[np.ndarray, Masks, dict[str, int | tuple[int, int]]]:
    """Masks as NumPy's and in one of the forms that there are, with what that form asks for besides."""
    height, width = (int(generator.choice([1, 2, 7, 8, 33, 64, 70, int(generator.integers(1, 140))])) for _ in range(2))
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
        strides = tuple(s for s in ALL_STRIDES if generator.random() < (0.4 if s < 256 else 0.08)) or (4,)
        mode = MODES[number % 4]
        packed = mode != "fraction" and bool(generator.integers(2))
        seen.add((type(given), mode, packed, strides[0], strides[-1]))
        pyramid = ldie_ext.mask_target_pyramid(given.to(backend.device), strides, mode=mode, packed=packed, **options)
        try:
            check(pyramid, masks, strides, mode, packed)
        except AssertionError as error:
            raise AssertionError(f"case {number}: {masks.shape}, {strides}, {mode}, packed {packed}") from error
    assert SANITIZED or len(seen) > 150


@pytest.mark.sanitize
@pytest.mark.parametrize("size", [(67, 2048), (70, 4101)])
@pytest.mark.parametrize("mode", MODES)
def test_masks_of_several_strips(backend: Backend, size: tuple[int, int], mode: str) -> None:
    masks = torch.rand(2, *size) < 0.48
    masks[1, :, :-1] = False
    strides, code = (1, 2, 8, 32, 64, 128, 2048), MODES.index(mode)
    pyramid = ldie_ext.mask_target_pyramid(masks.to(backend.device), strides, mode=mode)
    if backend is CPU:
        coarse = pyramid._replace(levels=pyramid.levels[2:])
        check(coarse, masks.numpy(), strides[2:], mode, False)
    else:
        flat = torch.ops.ldie_ext.mask_target_pyramid(masks, size[1], False, strides, code, False)[0]
        assert_same(torch.cat([level.flatten() for level in pyramid.levels]).cpu(), flat)
    if mode == "fraction":
        return
    there = placed(pack(masks), 3).to(backend.device)
    packed = ldie_ext.mask_target_pyramid(there, strides, mode=mode, packed=True, packed_width=size[1])
    for bits, level in zip(packed.levels, pyramid.levels, strict=True):
        assert_same(bits.cpu(), pack(level.cpu()))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 17), (16, 64), (40, 75)])
@pytest.mark.parametrize("mode", ["nearest", "fraction"])
def test_centers_and_areas_are_those_of_mask_centers(backend: Backend, size: tuple[int, int], mode: str) -> None:
    masks = masks_of(size)
    there = masks.to(backend.device)
    expected = ldie_ext.mask_centers(there)
    rle = ldie_ext.rle_encode(there)
    packed = pack(masks).to(backend.device)
    for given, options in ((there, {}), (rle, {}), (packed, {"packed_width": size[1]})):
        pyramid = ldie_ext.mask_target_pyramid(given, (8,), mode=mode, **options)
        assert_same((pyramid.centers, pyramid.areas), expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_is_interpolation(backend: Backend, mode: str) -> None:
    masks, strides = torch.rand(3, 64, 96) < 0.5, (1, 2, 4, 8, 16, 32)
    pyramid = ldie_ext.mask_target_pyramid(masks.to(backend.device), strides, mode=mode)
    for stride, level in zip(strides, pyramid.levels, strict=True):
        small = torch.nn.functional.interpolate(masks[:, None].float(), scale_factor=1 / stride, mode=mode)[:, 0]
        assert_same(level.cpu(), small >= 0.5)


def test_small_masks_do_not_vanish(backend: Backend) -> None:
    """The fullest cell alone, the first of equals; where some cell has half, no other."""
    masks = torch.zeros(4, 40, 48, dtype=torch.bool)
    masks[0, 39, 47] = True
    masks[1, [3, 4, 20], [20, 20, 3]] = True  # cells (0, 2), (0, 2) and (2, 0) of stride 8
    masks[2, [3, 20], [20, 3]] = True
    masks[3, :6, :6] = masks[3, 30, 30] = True
    for packed in (False, True):
        (level,) = ldie_ext.mask_target_pyramid(masks.to(backend.device), (8,), packed=packed).levels
        cells = torch.stack([level.cpu()[..., 0] >> bit & 1 for bit in range(6)], -1) if packed else level.cpu()
        assert cells.nonzero().tolist() == [[0, 4, 5], [1, 0, 2], [2, 0, 2], [3, 0, 0]]


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
@pytest.mark.parametrize("mode", MODES)
def test_empty(backend: Backend, shape: tuple[int, int, int], mode: str) -> None:
    masks = torch.zeros(shape, dtype=torch.bool, device=backend.device)
    pyramid = ldie_ext.mask_target_pyramid(masks, (2, 256), mode=mode)
    assert [level.numel() for level in pyramid.levels] == [0, 0]
    assert pyramid.levels[0].shape == (shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2)
    assert_same(pyramid.centers.cpu(), torch.zeros(shape[0], 2))
    assert pyramid.areas.tolist() == [0] * shape[0]
    nobody = Polygons.from_coco([[]]).to(backend.device)
    (level,) = ldie_ext.mask_target_pyramid(nobody, (4,), mode=mode, size=(9, 9)).levels
    assert level.shape == (1, 3, 3)
    assert not level.any()


@pytest.mark.parametrize("size", [(64 * 257 - 5, 1), (1, 40_000)])
def test_long_masks(backend: Backend, size: tuple[int, int]) -> None:
    """More bands than there are blocks, and cells of the largest stride."""
    masks = torch.ones(1, *size, dtype=torch.bool)
    strides = (64, 2**14)
    pyramid = ldie_ext.mask_target_pyramid(masks.to(backend.device), strides, mode="fraction")
    check(pyramid, masks.numpy(), strides, "fraction", False)


def test_inputs_stay_and_outputs_are_views_of_one(backend: Backend) -> None:
    masks = masks_of((40, 75)).to(backend.device)
    before = masks.clone()
    pyramid = ldie_ext.mask_target_pyramid(masks, (4, 8))
    assert_same(masks, before)
    fine, coarse = pyramid.levels
    assert fine.is_contiguous()
    assert coarse.data_ptr() == fine.data_ptr() + fine.numel()


def test_no_dense_copy_of_polygons_and_runs() -> None:
    """On the CPU the results are all that is allocated."""
    instances, size = random_instances(30, 1000), (1000, 1000)
    polygons = Polygons.from_coco(instances)
    rle = ldie_ext.polygons_to_rle(polygons, size)
    for masks in (polygons, rle):
        pyramid = ldie_ext.mask_target_pyramid(masks, (4, 8), size=size)
        results = sum(each.nbytes for each in (*pyramid.levels, pyramid.centers, pyramid.areas))
        held = peak_bytes(lambda masks=masks: ldie_ext.mask_target_pyramid(masks, (4, 8), size=size))
        assert held <= results + 4096


def test_errors_name_the_argument(backend: Backend) -> None:
    masks, call = masks_of((4, 9)).to(backend.device), ldie_ext.mask_target_pyramid
    polygons = Polygons.from_coco([[[0, 0, 3, 0, 3, 2]]]).to(backend.device)
    with pytest.raises(RuntimeError, match="masks must be uint8, got"):
        call(masks, (4,), packed_width=9)
    with pytest.raises(RuntimeError, match=r"masks must have shape \[N, H, W\]"):
        call(masks[0], (4,))
    with pytest.raises(RuntimeError, match=r"masks must be fewer than 2\^31, got 2147483648"):
        call(masks.new_zeros(2**31, 0, 9), (4,))
    with pytest.raises(RuntimeError, match="strides must be 1 to 15 numbers, got 0"):
        call(masks, ())
    for strides in ((3,), (0,), (-4,), (2**15,)):
        with pytest.raises(RuntimeError, match=rf"strides must be powers of two .* that rise, got {strides[0]}"):
            call(masks, strides)
    with pytest.raises(RuntimeError, match=r"strides must .* that rise, got 4 after 8"):
        call(masks, (8, 4))
    with pytest.raises(RuntimeError, match=r"strides must .* that rise, got 8 after 8"):
        call(polygons, (8, 8), size=(4, 9))
    with pytest.raises(ValueError, match="mode must be one of"):
        call(masks, (4,), mode="mean")
    with pytest.raises(ValueError, match="packed must be False where mode is 'fraction'"):
        call(masks, (4,), mode="fraction", packed=True)
    with pytest.raises(RuntimeError, match="packed must be false where cells are fractions"):
        backend.op("mask_target_pyramid")(masks, 9, False, [4], 3, True)
    with pytest.raises(ValueError, match=r"masks that are polygons must come with their size"):
        call(polygons, (4,))
    with pytest.raises(ValueError, match="size must be None beside masks of pixels"):
        call(masks, (4,), size=(4, 9))
    with pytest.raises(RuntimeError, match=r"less than 2\^31 pixels each"):
        call(polygons, (4,), size=(2**20, 2**20))
    differing = RLE(torch.tensor([4, 6], dtype=torch.int32), torch.tensor([0, 1, 2]), torch.tensor([[2, 2], [2, 3]]))
    with pytest.raises(ValueError, match="masks of one size"):
        call(differing.to(backend.device), (4,))


def test_wrong_runs_are_refused() -> None:
    rle = RLE(torch.tensor([1, 2], dtype=torch.int32), torch.tensor([0, 2]), torch.tensor([[2, 2]]))
    with pytest.raises(RuntimeError, match="the runs of mask 0 add up to 3"):
        ldie_ext.mask_target_pyramid(rle, (4,))


def test_dispatcher_contract(backend: Backend) -> None:
    masks = masks_of((5, 11)).to(backend.device)
    for mode in range(4):
        torch.library.opcheck(backend.op("mask_target_pyramid"), (masks, 11, False, [2, 4], mode, mode == 2))
    rle = ldie_ext.rle_encode(masks)
    torch.library.opcheck(backend.op("mask_target_pyramid_rle"), (rle.counts, rle.offsets, 5, 11, [4], 2, True))
    polygons = Polygons.from_coco(random_instances(2, 11)).to(backend.device)
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    torch.library.opcheck(backend.op("mask_target_pyramid_polygons"), (*tensors, 5, 11, [1, 8], 3, False))


@pytest.mark.parametrize("mode", ["area", "fraction"])
def test_compiles(backend: Backend, mode: str) -> None:
    def levels(masks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pyramid = ldie_ext.mask_target_pyramid(masks, (2, 4), mode=mode)
        return (*pyramid.levels, pyramid.centers, pyramid.areas)

    assert_compiles(levels, masks_of((5, 11)).to(backend.device))


def test_threads_agree() -> None:
    masks = torch.rand(60, 60, 70) < 0.01

    def flat() -> tuple[torch.Tensor, ...]:
        pyramid = ldie_ext.mask_target_pyramid(masks, (4, 16))
        return (*pyramid.levels, pyramid.centers, pyramid.areas)

    assert_threads_agree(flat)
