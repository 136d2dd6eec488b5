"""gaussian_maps against a cell by cell reference in float64, on every backend."""

from __future__ import annotations

import random

import pytest
import reference.heatmap as reference
import torch
from backends import CPU, SANITIZED, Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, peak_bytes
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
KINDS = ["half", "fwhm", "sigma", "onehot"]
INF, NAN = float("inf"), float("nan")
#: Half a unit in the last place of values up to 1, and what the exponential adds.
TOLERANCE = {torch.float32: 5e-7, torch.float64: 1e-14, torch.float16: 2.5e-4, torch.bfloat16: 2e-3}


def random_case(number: int) -> tuple[Tensor, Tensor, tuple[int, int], str]:
    """Centres inside, on borders and middles of cells, outside and unused; radii of all kinds."""
    rng = random.Random(number)
    torch.manual_seed(number)
    size = rng.choice([1, 2, 7, 13]), rng.choice([1, 3, 11, 21])
    count = rng.choice([0, 1, 2, 5])
    centers = torch.rand(count, 2, dtype=torch.float64) * 1.6 * max(size) - 0.3 * max(size)
    centers = (centers * 2).round() / 2 if rng.random() < 0.4 else centers
    radius = torch.rand(count, dtype=torch.float64) * rng.choice([0.3, 3, 20])
    for special in (NAN, INF, -INF, 1e30):
        centers[torch.rand(count, 2) < 0.05] = special
    for special in (0.0, -0.0, -1.0, NAN, INF, 1e-30, 1e30):
        radius[torch.rand(count) < 0.05] = special
    dtype = rng.choice(FLOATS)
    return centers.to(dtype), radius.to(rng.choice([dtype, torch.float32])), size, rng.choice(KINDS)


@pytest.mark.sanitize
def test_matches_reference(backend: Backend) -> None:
    for number in range(500 if backend is CPU else 20 if SANITIZED else 150):
        centers, radius, size, kind = random_case(number)
        dtype = random.Random(-number).choice(FLOATS)
        maps = ldie_ext.gaussian_maps(
            centers.to(backend.device), radius.to(backend.device), size, kind=kind, dtype=dtype
        )
        expected = reference.gaussian_maps(centers, radius, size, kind=kind)
        assert maps.dtype == dtype
        torch.testing.assert_close(maps.cpu().double(), expected, rtol=0, atol=TOLERANCE[dtype], msg=str(number))


@pytest.mark.parametrize("kind", KINDS)
def test_large_maps(backend: Backend, kind: str) -> None:
    """Several tiles of the kernel and of the CPU's factors, against the map of distances."""
    for size in ((70, 300), (3, 1100), (1100, 3)):
        centers = torch.tensor([[0.4, 0.6], [1.0, 1.0], [250.5, 40.25], [2.5, 700.0]])
        x, y = torch.arange(size[1]).double() + 0.5, torch.arange(size[0]).double() + 0.5
        squared = (x - centers[:, :1]).square()[:, None, :] + (y - centers[:, 1:]).square()[:, :, None]
        radius = torch.tensor([3.0, 40.0, 9.0, 1e4])
        factor = {"half": 2 ** -(squared / radius.double().square()[:, None, None]),
                  "fwhm": 16 ** -(squared / radius.double().square()[:, None, None]),
                  "sigma": (-squared / 2 / radius.double().square()[:, None, None]).exp(),
                  "onehot": ((x.floor() == centers[:, :1].floor())[:, None, :]
                             & (y.floor() == centers[:, 1:].floor())[:, :, None]).double()}  # fmt: skip
        maps = ldie_ext.gaussian_maps(centers.to(backend.device), radius.to(backend.device), size, kind=kind)
        torch.testing.assert_close(maps.cpu().double(), factor[kind], rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", [8.0, 0.25, 3.7])
def test_cells_of_a_step(backend: Backend, step: float) -> None:
    """Of centres and radii in another unit the maps are those of both in cells."""
    for number in range(60 if backend is CPU else 20):
        centers, radius, size, kind = random_case(number)
        given = centers.double() * step, radius.double() * step
        maps = ldie_ext.gaussian_maps(*(each.to(backend.device) for each in given), size, step=step, kind=kind)
        torch.testing.assert_close(
            maps.cpu(), reference.gaussian_maps(*given, size, step=step, kind=kind), atol=1e-14, rtol=0
        )
    pixels = torch.tensor([[4.5 * step, 0.5 * step]], dtype=torch.float64, device=backend.device)
    half = ldie_ext.gaussian_maps(pixels, 3 * step, (1, 9), step=step)[0, 0].tolist()
    assert half[4] == pytest.approx(1) and half[1] == pytest.approx(0.5) and half[7] == pytest.approx(0.5)


def test_what_the_radius_means(backend: Backend) -> None:
    center = torch.tensor([4.5, 0.5], device=backend.device)
    half = ldie_ext.gaussian_maps(center, 3.0, (1, 9))[0].tolist()
    assert half[4] == 1 and half[1] == pytest.approx(0.5) and half[7] == pytest.approx(0.5)
    assert ldie_ext.gaussian_maps(center, 6.0, (1, 9), kind="fwhm")[0].tolist() == pytest.approx(half)
    sigma = ldie_ext.gaussian_maps(center, 2.0, (1, 9), kind="sigma")[0].tolist()
    assert sigma[2] == pytest.approx(0.6065306597) and sigma[4] == 1
    onehot = ldie_ext.gaussian_maps(center, 3, (1, 9), kind="onehot")
    assert onehot.tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]


def test_unused_slots_and_degenerate_radii(backend: Backend) -> None:
    centers = torch.tensor([[NAN, 1.0], [1.0, INF], [1.5, 1.5], [1.5, 1.5], [1.0, 1.5], [1.5, 1.5], [9e37, 1], [1, 1]])
    radius = torch.tensor([2.0, 2.0, -1.0, NAN, 0.0, 0.0, 2.0, INF])
    maps = ldie_ext.gaussian_maps(centers.to(backend.device), radius.to(backend.device), (3, 3)).cpu()
    middle = torch.zeros(3, 3)
    middle[1, 1] = 1
    for number, expected in enumerate([0, 0, 0, 0, 0, middle, 0, 1]):
        assert_same(maps[number], expected + torch.zeros(3, 3))


def test_onehot_takes_the_cell_in_float64(backend: Backend) -> None:
    """2 - 1e-9 is 2 in float32, another cell."""
    centers = torch.tensor([[2 - 1e-9, 0.5], [2.0, 0.5], [3.0, 0.5], [-1e-9, 0.5]], dtype=torch.float64)
    maps = ldie_ext.gaussian_maps(centers.to(backend.device), 0.0, (1, 3), kind="onehot", dtype=torch.float32)
    assert maps[:, 0].tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_no_subnormal_numbers(backend: Backend) -> None:
    centers = torch.tensor([[0.5, 0.5]], device=backend.device)
    for dtype, size in ((torch.float32, (20, 20)), (torch.float64, (50, 50))):
        maps = ldie_ext.gaussian_maps(centers, 1.4, size, dtype=dtype)
        assert 0 < (maps == 0).sum() < maps.numel()
        assert maps[maps > 0].min() >= torch.finfo(dtype).tiny * (1 - 1e-6)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 0), (1, 2, 2)])
def test_leading_dimensions(backend: Backend, leading: tuple[int, ...]) -> None:
    centers, radius = 9 * torch.rand(*leading, 2, device=backend.device), torch.rand(leading, device=backend.device)
    maps = ldie_ext.gaussian_maps(centers, radius, (4, 9))
    assert maps.shape == (*leading, 4, 9)
    flat = ldie_ext.gaussian_maps(centers.reshape(radius.numel(), 2), radius.flatten(), (4, 9))
    assert_same(maps.flatten(), flat.flatten())


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
def test_empty_maps(backend: Backend, size: tuple[int, int]) -> None:
    assert ldie_ext.gaussian_maps(torch.rand(2, 2, device=backend.device), 1.0, size).shape == (2, *size)


def test_non_contiguous(backend: Backend) -> None:
    centers, radius = 9 * torch.rand(6, 2, device=backend.device), torch.rand(6, device=backend.device)
    expected = ldie_ext.gaussian_maps(centers, radius, (5, 7))
    strided = centers.t().contiguous().t()
    assert not strided.is_contiguous()
    assert_same(ldie_ext.gaussian_maps(strided, radius.repeat_interleave(2)[::2], (5, 7)), expected)


def test_one_radius_is_that_of_all(backend: Backend) -> None:
    centers = 9 * torch.rand(6, 2, device=backend.device)
    each = ldie_ext.gaussian_maps(centers, torch.full((6,), 2.5, device=backend.device), (9, 9))
    assert_same(ldie_ext.gaussian_maps(centers, 2.5, (9, 9)), each)


def test_memory_is_that_of_the_maps() -> None:
    centers = 84 * torch.rand(80, 2)
    assert peak_bytes(lambda: ldie_ext.gaussian_maps(centers, 7.0, (50, 84))) <= 80 * 50 * 84 * 4 + 4096


def test_errors_name_the_argument(backend: Backend) -> None:
    centers = torch.rand(3, 2, device=backend.device)
    call = ldie_ext.gaussian_maps
    with pytest.raises(RuntimeError, match=r"gaussian_maps: centers must have shape \[\.\.\., 2\], got \[3, 1\]"):
        call(centers[:, :1], 1.0, (4, 4))
    with pytest.raises(RuntimeError, match="centers must be float32, float64, float16 or bfloat16"):
        call(centers.long(), 1.0, (4, 4))
    with pytest.raises(RuntimeError, match="radius must be a number or one for each of the centers, got"):
        call(centers, torch.ones(2, device=backend.device), (4, 4))
    with pytest.raises(RuntimeError, match="radius must be float32"):
        call(centers, torch.ones(3, dtype=torch.int64, device=backend.device), (4, 4))
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(centers, 1.0, (4, -4))
    with pytest.raises(RuntimeError, match="dtype must be float32, float64, float16 or bfloat16, got int64"):
        call(centers, 1.0, (4, 4), dtype=torch.int64)
    for step in (0.0, -1.0, INF, NAN):
        with pytest.raises(RuntimeError, match=f"gaussian_maps: step must be above 0 and finite, got {step:g}"):
            call(centers, 1.0, (4, 4), step=step)
    with pytest.raises(ValueError, match="kind must be one of"):
        call(centers, 1.0, (4, 4), kind="box")


def test_refuses_a_gradient(backend: Backend) -> None:
    maps = ldie_ext.gaussian_maps(torch.rand(3, 2, device=backend.device).requires_grad_(), 1.0, (4, 4))
    with pytest.raises(RuntimeError, match="gaussian_maps is not differentiable"):
        maps.sum().backward()


def test_dispatcher_contract(backend: Backend) -> None:
    centers = torch.rand(2, 3, 2, device=backend.device)
    for radii in (None, torch.rand(2, 3, device=backend.device)):
        for dtype in (torch.float32, torch.bfloat16):
            torch.library.opcheck(backend.op("gaussian_maps"), (centers, radii, 1.5, 2.0, 5, 6, 0, dtype))


def test_compiles(backend: Backend) -> None:
    centers = torch.rand(2, 3, 2, device=backend.device)
    assert_compiles(lambda centers: ldie_ext.gaussian_maps(centers, 2.0, (5, 6)), centers)
    assert_compiles(lambda centers: ldie_ext.gaussian_maps(centers, centers[..., 0], (5, 6)), centers)


def test_threads_agree() -> None:
    centers = 200 * torch.rand(5, 2)
    assert_threads_agree(lambda: ldie_ext.gaussian_maps(centers, 30.0, (150, 200)))
