"""roi_align where the CUDA kernels take another path: many channels, RoIs or bins, wide maps, fine grids, packs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import reference.roi as reference
import torch
from backends import Backend
from op_checks import assert_same
from roi.cases import INF, make_boxes
from torch import Tensor

import ldie_ext

FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


@dataclass(frozen=True)
class Shape:
    """Sizes that decide which path a kernel takes."""

    channels: int = 2
    height: int = 12
    width: int = 12
    rois: int = 3
    size: tuple[int, int] = (3, 2)
    ratio: int = 2
    batch: int = 1


SHAPES = {
    "several blocks of channels": Shape(channels=37),
    "packs of channels": Shape(channels=136, rois=2, height=5),
    "several blocks of bins": Shape(size=(17, 33), rois=2),
    "more rows of bins than a tile holds": Shape(channels=6, width=70, size=(16, 16), rois=2),
    "more columns than a tile holds": Shape(channels=5, width=600, height=4, rois=2),
    "a plane whose rows of bins the warps share": Shape(channels=1, width=70, size=(17, 16), rois=2),
    "more taps than slots": Shape(width=300, height=290, size=(1, 1), ratio=-1, rois=2, channels=1),
    "a fine grid": Shape(ratio=40, size=(9, 9), rois=2, channels=1),
    "more RoIs than a list holds": Shape(rois=300, channels=1, height=9, size=(2, 2), batch=2),
    "an adaptive grid": Shape(ratio=0, height=40, width=50, size=(4, 3)),
}


def make_inputs(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Features, and boxes with the images' index: all sizes, and one that covers the map."""
    boxes = make_boxes(shape.rois, max(shape.height, shape.width), dtype)
    boxes[0] = torch.tensor([-1.0, -1.0, shape.width + 1.0, shape.height + 1.0], dtype=dtype)
    images = torch.randint(0, shape.batch, (shape.rois, 1)).to(dtype)
    values = torch.randn(shape.batch, shape.channels, shape.height, shape.width, dtype=dtype)
    return values, torch.cat([images, boxes], dim=1)


def expected(input: Tensor, rois: Tensor, shape: Shape) -> Tensor:
    images = rois[:, 0].int().tolist()
    return reference.multiscale_roi_align([input], images, rois[:, 1:], shape.size, [1.0], shape.ratio)


@pytest.mark.sanitize
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_path(backend: Backend, name: str, memory_format: str) -> None:
    shape = SHAPES[name]
    values, rois = make_inputs(shape)
    plain = values.clone().requires_grad_()
    input = values.to(backend.device, memory_format=FORMATS[memory_format]).requires_grad_()
    output = ldie_ext.roi_align(input, rois.to(backend.device), shape.size, 1.0, shape.ratio)
    wanted = expected(plain, rois, shape)
    torch.testing.assert_close(output.detach().cpu(), wanted.detach(), rtol=2e-5, atol=2e-5)
    tangent = torch.randn_like(wanted)
    output.backward(tangent.to(backend.device))
    wanted.backward(tangent)
    torch.testing.assert_close(input.grad.cpu(), plain.grad, rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_deterministic(backend: Backend, memory_format: str) -> None:
    """The same bits twice, and for RoIs of several images interleaved as for each image alone."""
    shape = Shape(rois=60, batch=2, channels=3)
    values, rois = make_inputs(shape)
    values, rois = values.to(backend.device, memory_format=FORMATS[memory_format]), rois.to(backend.device)
    tangent = torch.randn(shape.rois, shape.channels, *shape.size).to(backend.device)

    def gradient(rows: Tensor) -> Tensor:
        input = values.detach().requires_grad_()
        ldie_ext.roi_align(input, rois[rows], shape.size, 1.0, 2).backward(tangent[rows])
        assert input.grad is not None
        return input.grad

    every = torch.arange(shape.rois, device=backend.device)
    together = gradient(every)
    assert_same(gradient(every), together)
    for image in range(shape.batch):
        assert_same(gradient(every[rois[:, 0] == image])[image], together[image])


@pytest.mark.parametrize("memory_format", FORMATS)
def test_infinite_gradient_stays_with_its_cells(backend: Backend, memory_format: str) -> None:
    values = torch.zeros(1, 2, 20, 20).to(backend.device, memory_format=FORMATS[memory_format]).requires_grad_()
    rois = torch.tensor([[0.0, 4.5, 4.5, 12.5, 12.5]], device=backend.device)
    tangent = torch.ones(1, 2, 2, 2)
    tangent[0, 0, 0, 0] = INF
    ldie_ext.roi_align(values, rois, 2, 1.0, 2).backward(tangent.to(backend.device))
    assert values.grad is not None
    finite = values.grad[0].isfinite().cpu()
    assert finite[1].all()
    assert torch.equal((~finite[0]).nonzero().amin(0), torch.tensor([5, 5]))
    assert torch.equal((~finite[0]).nonzero().amax(0), torch.tensor([8, 8]))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("kind", ["one number", "one per channel", "flattened", "channels last", "every other"])
def test_gradients_in_any_strides(backend: Backend, kind: str, memory_format: str) -> None:
    """Gradients of outputs come as autograd makes them, such as one number for a sum; the bits are those of a copy."""
    values, rois = make_inputs(Shape(channels=37, rois=3, size=(3, 2)))
    size = (3, 37, 3, 2)
    tangent = {
        "one number": torch.randn(()).expand(size),
        "one per channel": torch.randn(37, 1, 1).expand(size),
        "flattened": torch.randn(size),
        "channels last": torch.randn(size).contiguous(memory_format=torch.channels_last),
        "every other": torch.randn(3, 74, 6, 4)[:, ::2, ::2, ::2],
    }[kind].to(backend.device)

    def gradient(tangent: Tensor) -> Tensor:
        input = values.to(backend.device, memory_format=FORMATS[memory_format]).requires_grad_()
        output = ldie_ext.roi_align(input, rois.to(backend.device), (3, 2), 1.0, 2)
        return torch.autograd.grad(output, input, tangent)[0]

    wanted = tangent.clone(memory_format=FORMATS[memory_format])
    assert_same(gradient(tangent), gradient(wanted))
