"""mask_centers against means over the pixels, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from masks.mask_inputs import masks_of, pack
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

SIZES = [(1, 1), (1, 9), (9, 1), (13, 17), (16, 64), (40, 75)]


def reference(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = masks.shape[1:]
    areas = masks.sum((1, 2))
    xs = (masks * torch.arange(width)).sum((1, 2)).double() / areas.clamp(min=1)
    ys = (masks * torch.arange(height)[:, None]).sum((1, 2)).double() / areas.clamp(min=1)
    return torch.stack([xs, ys], 1).float(), areas


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("packed", [False, True])
def test_matches_reference(backend: Backend, size: tuple[int, int], packed: bool) -> None:
    masks = masks_of(size)
    inputs = (pack(masks) if packed else masks).to(backend.device)
    centers, areas = ldie_ext.mask_centers(inputs, packed_width=size[1] if packed else None)
    assert_same((centers.cpu(), areas.cpu()), reference(masks))


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0), (2, 4, 4)])
def test_empty(backend: Backend, shape: tuple[int, int, int]) -> None:
    centers, areas = ldie_ext.mask_centers(torch.zeros(shape, dtype=torch.bool, device=backend.device))
    assert_same(centers.cpu(), torch.zeros(shape[0], 2))
    assert areas.tolist() == [0] * shape[0]


def test_non_contiguous(backend: Backend) -> None:
    masks = masks_of((13, 17)).to(backend.device)
    centers, areas = ldie_ext.mask_centers(masks.mT)
    assert_same((centers.cpu(), areas.cpu()), reference(masks.cpu().mT))


def test_errors_name_the_argument(backend: Backend) -> None:
    masks = masks_of((4, 9)).to(backend.device)
    with pytest.raises(RuntimeError, match="masks must be uint8, got"):
        ldie_ext.mask_centers(masks, packed_width=9)
    with pytest.raises(RuntimeError, match=r"masks packed to a packed_width of 9 must have shape \[N, H, 2\]"):
        ldie_ext.mask_centers(masks.byte(), packed_width=9)
    with pytest.raises(RuntimeError, match=r"masks must have shape \[N, H, W\]"):
        ldie_ext.mask_centers(masks[0])


def test_dispatcher_contract(backend: Backend) -> None:
    torch.library.opcheck(backend.op("mask_centers"), (masks_of((5, 11)).to(backend.device), 11, False))


def test_compiles(backend: Backend) -> None:
    assert_compiles(ldie_ext.mask_centers, masks_of((5, 11)).to(backend.device))


def test_threads_agree() -> None:
    masks = torch.rand(60, 60, 70) < 0.01
    assert_threads_agree(lambda: ldie_ext.mask_centers(masks))
