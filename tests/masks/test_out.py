"""Masks that are written into a given tensor: one that shares memory with what is read is refused."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from torch import Tensor

import ldie_ext
from ldie_ext import RLE, Polygons


def in_memory(values: Tensor, gap: int, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The values, and bool of this shape in the same memory, `gap` bytes after the end of the values."""
    memory = torch.zeros(values.nbytes + 64, dtype=torch.uint8, device=values.device)
    own = memory[: values.nbytes].view(values.dtype).view(values.shape)
    own.copy_(values)
    begin = values.nbytes + gap
    return own, memory[begin : begin + torch.Size(shape).numel()].view(torch.bool).view(shape)


@pytest.mark.parametrize(("gap", "shared"), [(-4, True), (-1, True), (0, False), (3, False)])
def test_paste_masks(backend: Backend, gap: int, shared: bool) -> None:
    masks, boxes = torch.rand(1, 3, 3, device=backend.device), torch.tensor([[0.0, 0, 4, 4]], device=backend.device)
    for name in ("masks", "boxes"):
        inputs = {"masks": masks, "boxes": boxes}
        inputs[name], out = in_memory(inputs[name], gap, (1, 4, 4))
        if shared:
            with pytest.raises(RuntimeError, match=f"paste_masks: out must not share memory with {name}"):
                ldie_ext.paste_masks(**inputs, size=(4, 4), out=out)
        else:
            assert ldie_ext.paste_masks(**inputs, size=(4, 4), out=out) is out


@pytest.mark.parametrize(("gap", "shared"), [(-4, True), (0, False)])
def test_rle_decode(backend: Backend, gap: int, shared: bool) -> None:
    rle = ldie_ext.rle_encode(torch.tensor([[[True, False], [False, False]]], device=backend.device))
    for name in ("counts", "offsets"):
        tensors = dict(vars(rle))
        tensors[name], out = in_memory(tensors[name], gap, (1, 2, 2))
        if shared:
            with pytest.raises(RuntimeError, match=f"rle_decode: out must not share memory with {name}"):
                ldie_ext.rle_decode(RLE(**tensors), out=out)
        else:
            assert ldie_ext.rle_decode(RLE(**tensors), out=out).tolist() == [[[True, False], [False, False]]]


@pytest.mark.parametrize(("gap", "shared"), [(-8, True), (0, False)])
def test_polygons_to_masks(backend: Backend, gap: int, shared: bool) -> None:
    polygons = Polygons.from_coco([[[0, 0, 3, 0, 3, 3, 0, 3]]]).to(backend.device)
    for name in ("coords", "part_offsets", "instance_offsets"):
        tensors = dict(vars(polygons))
        tensors[name], out = in_memory(tensors[name], gap, (1, 3, 3))
        if shared:
            with pytest.raises(RuntimeError, match=f"polygons_to_masks: out must not share memory with {name}"):
                ldie_ext.polygons_to_masks(Polygons(**tensors), (3, 3), out=out)
        else:
            assert ldie_ext.polygons_to_masks(Polygons(**tensors), (3, 3), out=out).all()
