"""composite_masks against PyTorch's own interpolation of whole images and a loop that paints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from backends import CPU, SANITIZED, Backend
from masks.mask_inputs import pack
from op_checks import assert_compiles, assert_same, assert_threads_agree, peak_bytes
from reference import composite
from torch import Tensor
from torch.nn import functional as F

import ldie_ext

nan, inf = float("nan"), float("inf")
DTYPES = [torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16]


@dataclass
class Request:
    """A random call: maps of any size, up or down in one step or two, rows left out and repeated."""

    seed: int
    maps: Tensor = field(init=False)
    size: tuple[int, int] = field(init=False)
    steps: dict[str, Any] = field(init=False)  # what values() takes
    threshold: float = field(init=False)
    scores: Tensor = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        height, width = self.draw(24), self.draw(40)
        between = (self.draw(90), self.draw(140)) if self.draw(3) > 1 else None
        whole = between or (height, width)
        self.maps = torch.rand(self.draw(4), height, width)
        if self.draw(2) > 1:
            self.maps = F.avg_pool2d(self.maps, 5, 1, 2) * 2 - 0.5  # as smooth as a network's
        self.maps = self.maps.to(DTYPES[self.draw(len(DTYPES)) - 1])
        if self.draw(4) > 3:
            self.maps.view(-1)[torch.randint(self.maps.numel(), (2,))] = nan
        index = torch.randint(-1, len(self.maps) + 1, (self.draw(6) - 1,)) if self.draw(3) > 1 else None
        crop = (self.draw(whole[0]), self.draw(whole[1])) if self.draw(2) > 1 else None
        self.size = (self.draw(60), self.draw(90))
        self.steps = {"index": index, "between": between, "crop": crop, "align_corners": self.draw(2) > 1}
        self.threshold = [0.5, 0.0, -0.3, 0.8][self.draw(4) - 1]
        self.scores = torch.randint(4, (len(self.maps) if index is None else len(index),)) / 4

    @staticmethod
    def draw(most: int) -> int:
        return int(torch.randint(1, most + 1, ()))

    def masks(self, backend: Backend = CPU, **options: Any) -> Any:
        arguments = {"maps": self.maps, "scores": self.scores, **self.steps, **options}
        there = {
            name: value.to(backend.device) if isinstance(value, Tensor) else value for name, value in arguments.items()
        }
        return ldie_ext.composite_masks(size=self.size, threshold=self.threshold, **there)


def test_many_random_cases() -> None:
    """The pixels of two whole pictures, but for values that lie on the threshold up to rounding."""
    pixels = apart = 0
    for seed in range(500):
        request = Request(seed)
        masks = request.masks()
        values = composite.values(request.maps, request.size, **request.steps)
        differ = masks != (values > request.threshold)
        if differ.any():
            largest = request.maps.nan_to_num().abs().max().clamp(min=abs(request.threshold)).to(values.dtype)
            distance = (values[differ] - request.threshold).abs().max()
            assert distance <= 8 * torch.finfo(values.dtype).eps * largest, f"seed {seed}"
        pixels, apart = pixels + differ.numel(), apart + int(differ.sum())
        assert_same(request.masks(exclusive=True), composite.paint(masks, request.scores))
        assert_same(request.masks(exclusive=True, scores=None), composite.paint(masks))
        for exclusive in (False, True):
            packed, runs = (request.masks(exclusive=exclusive, **{form: True}) for form in ("packed", "rle"))
            assert_same(packed, pack(request.masks(exclusive=exclusive)))
            assert_same(ldie_ext.rle_decode(runs, packed=True, size=request.size), packed)
    assert apart <= pixels * 1e-5
    assert pixels > 1_000_000


@pytest.mark.sanitize
@pytest.mark.parametrize("seed", range(3))
def test_small_cases_on_all_backends(backend: Backend, seed: int) -> None:
    request = Request(seed + 1000)
    for options in ({}, {"packed": True}, {"exclusive": True}, {"exclusive": True, "packed": True}):
        assert_same(request.masks(backend, **options).cpu(), request.masks(**options))


def test_backends_agree(backend: Backend) -> None:
    """Bit for bit, on whatever side of the threshold PyTorch's value lies."""
    for seed in range(2000, 2060):
        request, packed = Request(seed), seed % 2 == 0
        for exclusive in (False, True):
            options = {"exclusive": exclusive, "packed": packed}
            assert_same(request.masks(backend, **options).cpu(), request.masks(**options))


@pytest.mark.parametrize("threshold", [0.5, -0.7, 0.0, 1e-40])
def test_values_near_the_threshold(backend: Backend, threshold: float) -> None:
    """What is left out because no pixel can, or all must, be above the threshold is what the arithmetic gives."""
    spacing = max(abs(threshold) * torch.finfo(torch.float32).eps, 2.0**-149)
    for seed in range(12):
        torch.manual_seed(seed)
        around = (-30, 0, 30, 70, -70, 3)[seed % 6]
        cells = torch.randint(-3, 4, (2, 4, 9)) + around
        maps = (threshold + spacing * cells.double()).float()
        between, crop = ((11, 23), (10, 21)) if seed % 2 else (None, None)
        for align_corners in (False, True):
            values = composite.composed_values(maps, (40, 37), between, crop, align_corners)
            steps: dict[str, Any] = {"between": between, "crop": crop, "align_corners": align_corners}
            masks = ldie_ext.composite_masks(maps.to(backend.device), (40, 37), threshold=threshold, **steps)
            assert_same(masks.cpu(), values > torch.tensor(threshold))


def test_values_on_the_threshold(backend: Backend) -> None:
    """Edges of zeros and ones that come out as exactly one half are not above it."""
    maps = (torch.rand(6, 5, 7) < 0.5).float()
    expected = composite.values(maps, (9, 13), align_corners=True) > 0.5
    assert_same(ldie_ext.composite_masks(maps.to(backend.device), (9, 13), align_corners=True).cpu(), expected)


def test_sizes_of_a_detector() -> None:
    """Positions up to 1344 in float32, as PyTorch rounds them."""
    maps = torch.rand(3, 100, 168)
    steps: dict[str, Any] = {"between": (800, 1344), "crop": (800, 1333)}
    for align_corners in (False, True):
        values = composite.values(maps, (480, 640), align_corners=align_corners, **steps)
        masks = ldie_ext.composite_masks(maps, (480, 640), align_corners=align_corners, **steps)
        differ = masks != (values > 0.5)
        assert differ.sum() <= 5
        assert torch.all((values[differ] - 0.5).abs() <= 8 * torch.finfo(torch.float32).eps)


@pytest.mark.sanitize
def test_wide_masks(backend: Backend) -> None:
    """More columns than a block takes, rows that do not begin at whole words, many cells under a band of pixels."""
    torch.manual_seed(0)
    maps = torch.rand(3, 90, 120)
    for size in ((5, 2100),) if SANITIZED else ((5, 2100), (3, 4129), (33, 31)):
        for options in ({}, {"packed": True}, {"exclusive": True}, {"exclusive": True, "packed": True}):
            masks = ldie_ext.composite_masks(maps.to(backend.device), size, **options).cpu()
            assert_same(masks, ldie_ext.composite_masks(maps, size, **options))
        assert_same(ldie_ext.composite_masks(maps, size), composite.values(maps, size) > 0.5)


@pytest.mark.sanitize
def test_more_masks_than_a_painter_reads_at_once(backend: Backend) -> None:
    maps, scores = torch.rand(21, 6, 7), torch.rand(21)
    scores[[3, 8]], scores[11] = scores[5].clone(), nan
    masks = ldie_ext.composite_masks(maps.to(backend.device), (20, 45), threshold=0.8)
    painted = ldie_ext.composite_masks(
        maps.to(backend.device), (20, 45), scores=scores.to(backend.device), threshold=0.8, exclusive=True
    )
    assert_same(painted.cpu(), composite.paint(masks.cpu(), scores))
    assert painted.sum(0).max() == 1
    assert_same(painted[11], masks[11])


def test_nan_and_infinity(backend: Backend) -> None:
    maps = torch.full((3, 4, 5), 0.9)
    maps[0, 1, 2], maps[1, 1, 2], maps[2, 1, 2] = nan, -inf, inf
    masks = ldie_ext.composite_masks(maps.to(backend.device), (16, 20)).cpu()
    values = composite.values(maps, (16, 20))
    assert_same(masks, values > 0.5)
    assert all(mask.any() and not mask.all() for mask in masks)  # infinity at weight 0 is NaN
    same = ldie_ext.composite_masks(maps.to(backend.device), (4, 5)).cpu()
    assert_same(same, maps > 0.5)
    for threshold in (nan, inf):
        assert not ldie_ext.composite_masks(maps[1:2].to(backend.device), (16, 20), threshold=threshold).any()
    assert ldie_ext.composite_masks(maps[:1, :1].to(backend.device), (16, 20), threshold=-inf).all()


def test_empty(backend: Backend) -> None:
    maps = torch.rand(2, 3, 4).to(backend.device)
    rows = torch.zeros(0, dtype=torch.int64, device=backend.device)
    for exclusive in (False, True):
        assert ldie_ext.composite_masks(maps, (5, 6), index=rows, exclusive=exclusive).shape == (0, 5, 6)
        assert ldie_ext.composite_masks(maps[:0], (5, 6), exclusive=exclusive).shape == (0, 5, 6)
        assert ldie_ext.composite_masks(maps, (0, 9), packed=True, exclusive=exclusive).shape == (2, 0, 2)
        assert ldie_ext.composite_masks(maps, (5, 0), exclusive=exclusive).shape == (2, 5, 0)
    assert ldie_ext.composite_masks(maps, (5, 6), index=rows, rle=True).to_coco() == []
    outside = torch.tensor([-1, 2, 2**62, -(2**62)], device=backend.device)
    assert not ldie_ext.composite_masks(maps, (5, 6), index=outside, threshold=-1.0).any()


def test_one_cell(backend: Backend) -> None:
    maps = torch.tensor([[[0.7]], [[0.5]]]).to(backend.device)
    for steps in ({}, {"between": (1, 9)}, {"between": (7, 5), "crop": (1, 1)}):
        masks = ldie_ext.composite_masks(maps, (3, 4), **steps)
        assert masks[0].all()
        assert not masks[1].any()


def test_large_masks_start_from_zero() -> None:
    maps = F.avg_pool2d(torch.rand(20, 30, 40), 5, 1, 2)
    masks = ldie_ext.composite_masks(maps, (1300, 1400), threshold=0.6)
    assert masks.nbytes >= 32 << 20
    differ = masks != (composite.values(maps, (1300, 1400)) > 0.6)
    assert differ.sum() <= 20


def test_non_contiguous(backend: Backend) -> None:
    maps, index = torch.rand(8, 6, 7).to(backend.device), torch.tensor([0, 9, 2, 9, 1, 9]).to(backend.device)[::2]
    scores = torch.rand(6).to(backend.device)[::2]
    options: dict[str, Any] = {"exclusive": True, "packed": True}
    strided = ldie_ext.composite_masks(maps[::2].mT, (20, 20), index=index, scores=scores, **options)
    plain = (each.contiguous() for each in (index, scores))
    whole = maps[::2].mT.contiguous()
    expected = ldie_ext.composite_masks(whole, (20, 20), **dict(zip(("index", "scores"), plain)), **options)
    assert_same(strided, expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    maps = torch.rand(2, 5, 6).to(backend.device)

    def refused(message: str, **changed: Any) -> None:
        with pytest.raises((RuntimeError, TypeError, ValueError), match=message):
            ldie_ext.composite_masks(**{"maps": maps, "size": (4, 4), **changed})

    refused(r"maps must have shape \[R, h, w\], got \[2, 1, 5, 6\]", maps=maps[:, None])
    refused(r"maps must be float32", maps=maps > 0)
    refused(r"maps must have at least a cell each, got \[2, 0, 6\]", maps=maps[:, :0])
    refused(r"size must be \(height, width\)", size=(4, -1))
    refused(r"index must be int64", index=torch.zeros(2, dtype=torch.int32, device=backend.device))
    refused(r"scores must have shape \[K\], one per mask, got \[3\]", scores=torch.rand(3, device=backend.device))
    refused(r"between must be at least 1 and at most 2\^30, got 0", between=(0, 4))
    refused(r"between must be \(height, width\), got 3 numbers", between=(1, 2, 3))
    refused(r"between must be", between=0)
    refused(r"crop must be", crop=False)
    refused(r"maps must have fewer than 2\^31 masks", maps=maps[:1, :1, :1].expand(2**31, 1, 1))
    refused(r"crop must be at most between, \(8, 9\), got \(8, 10\)", between=(8, 9), crop=(8, 10))
    refused(r"crop must be at most the maps, without between, \(5, 6\), got \(6, 6\)", crop=(6, 6))
    refused(r"packed and rle are two forms", packed=True, rle=True)


def test_dispatcher_contract(backend: Backend) -> None:
    maps, index = torch.rand(2, 5, 6).to(backend.device), torch.tensor([1, 0, 1]).to(backend.device)
    scores = torch.rand(3, dtype=torch.float64).to(backend.device)
    op = backend.op("composite_masks")
    torch.library.opcheck(op, (maps, index, scores, 8, 9, 0.5, [20, 30], [19, 28], True, True, True))
    torch.library.opcheck(op, (maps, None, None, 8, 9, 0.5, [], [], False, False, False))


def test_compiles(backend: Backend) -> None:
    maps, scores = torch.rand(2, 5, 6).to(backend.device), torch.rand(2).to(backend.device)
    assert_compiles(lambda *args: ldie_ext.composite_masks(args[0], (8, 9)), maps)
    assert_compiles(
        lambda maps, scores: ldie_ext.composite_masks(
            maps, (8, 9), scores=scores, between=(20, 30), crop=(19, 28), exclusive=True, packed=True
        ),
        maps,
        scores,
    )


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("count", [1, 40])
def test_threads_agree(exclusive: bool, count: int) -> None:
    maps = F.avg_pool2d(torch.rand(count, 28, 28), 5, 1, 2)
    assert_threads_agree(lambda: ldie_ext.composite_masks(maps, (300, 310), exclusive=exclusive))


@pytest.mark.parametrize("exclusive", [False, True])
def test_memory_is_that_of_the_masks(exclusive: bool) -> None:
    """Neither picture of floats is a tensor, and an exclusive result takes no second one."""
    maps, options = torch.rand(4, 50, 60), {"scores": torch.rand(4), "exclusive": exclusive, "packed": True}
    peak = peak_bytes(lambda: ldie_ext.composite_masks(maps, (200, 300), between=(400, 480), **options))
    assert 4 * 200 * 38 <= peak <= 4 * 200 * 38 + 1024
