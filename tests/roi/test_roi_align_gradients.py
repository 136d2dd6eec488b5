"""Gradients of roi_align of any order, its dispatcher contract, its memory, and its largest outputs."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, peak_bytes
from roi.cases import make_boxes
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import ldie_ext

OPTIONS = ([0.5], -1, True, 224.0, 4, 0, 0)  # scales, ... of the native ops


def make_rois(count: int, side: float, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.cat([torch.randint(0, batch, (count, 1)).to(dtype), make_boxes(count, side, dtype)], dim=1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_gradients_of_both_orders(backend: Backend, memory_format: torch.memory_format) -> None:
    rois = make_rois(2, 5, dtype=torch.float64).to(backend.device)
    input = torch.randn(2, 2, 3, 4, dtype=torch.float64, device=backend.device).to(memory_format=memory_format)
    input.requires_grad_()
    for ratio, aligned in ((2, False), (-1, True)):

        def call(input: Tensor, ratio: int = ratio, aligned: bool = aligned) -> Tensor:
            return ldie_ext.roi_align(input, rois, (2, 1), 1.0, ratio, aligned)

        assert gradcheck(call, (input,))
        assert gradgradcheck(call, (input,))


def test_gradient_penalty(backend: Backend) -> None:
    """A penalty on the gradient through pooled features, as in WGAN-GP, against the linear map written out."""
    rois = make_rois(3, 6, dtype=torch.float64).to(backend.device)
    input = torch.randn(2, 2, 5, 6, dtype=torch.float64, device=backend.device, requires_grad=True)
    pooled = ldie_ext.roi_align(input, rois, 2)
    (gradient,) = torch.autograd.grad(pooled.pow(3).sum(), input, create_graph=True)
    (penalty,) = torch.autograd.grad(gradient.pow(2).sum(), input)
    eye = torch.eye(input.numel(), dtype=input.dtype, device=input.device).view(-1, *input.shape)
    matrix = torch.stack([ldie_ext.roi_align(basis, rois, 2).flatten() for basis in eye], dim=1)
    flat = input.detach().flatten().requires_grad_()
    (inner,) = torch.autograd.grad((matrix @ flat).pow(3).sum(), flat, create_graph=True)
    (wanted,) = torch.autograd.grad(inner.pow(2).sum(), flat)
    torch.testing.assert_close(penalty.flatten(), wanted)


def test_boxes_get_no_gradient(backend: Backend) -> None:
    rois = make_rois(3, 6).to(backend.device).requires_grad_()
    input = torch.randn(2, 2, 5, 6, device=backend.device, requires_grad=True)
    ldie_ext.roi_align(input, rois, 2).sum().backward()
    assert rois.grad is None
    assert input.grad is not None


def test_deterministic(backend: Backend) -> None:
    """Many RoIs on few cells: the order of the sums is fixed."""
    rois = make_rois(40, 6).to(backend.device)
    input = torch.randn(2, 3, 6, 6, device=backend.device, requires_grad=True)
    tangent = torch.randn(40, 3, 2, 2, device=backend.device)

    def gradient() -> Tensor:
        return torch.autograd.grad(ldie_ext.roi_align(input, rois, 2), input, tangent)[0]

    first = gradient()
    for _ in range(3):
        assert_same(gradient(), first)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_dispatcher_contract(backend: Backend, memory_format: torch.memory_format) -> None:
    input = torch.randn(2, 3, 8, 9, device=backend.device).to(memory_format=memory_format).requires_grad_()
    rois = make_rois(4, 16).to(backend.device)
    last = memory_format is torch.channels_last
    torch.library.opcheck(backend.op("roi_align"), ([input], rois, None, 2, 3, last, *OPTIONS))
    tangent = torch.randn(4, 3, 2, 3, device=backend.device, requires_grad=True)
    torch.library.opcheck(backend.op("roi_align_backward"), (tangent, rois, None, [8, 9], 2, last, *OPTIONS))


def test_compiles(backend: Backend) -> None:
    input, rois = torch.randn(2, 3, 8, 9, device=backend.device), make_rois(4, 9).to(backend.device)
    assert_compiles(lambda *tensors: ldie_ext.roi_align(*tensors, 3) * 2, input, rois)
    lists = [rois[:2, 1:].contiguous(), rois[2:, 1:].contiguous()]
    assert_compiles(lambda input, a, b: ldie_ext.roi_align(input, [a, b], 3) * 2, input, *lists)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_bounded(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Output, its gradient and the input's gradient, and 5 % for everything else."""
    input = torch.randn(2, 256, 100, 136).to(dtype).to(memory_format=memory_format).requires_grad_()
    rois = make_rois(1000, 130)
    output_bytes = 1000 * 256 * 49 * input.element_size()

    def step() -> None:
        ldie_ext.roi_align(input, rois, 7, 1.0, 2).sum().backward()

    step()
    input.grad = None
    assert peak_bytes(step) <= 1.05 * (2 * output_bytes + input.nbytes)


@pytest.mark.slow
def test_more_than_two_to_the_31_elements() -> None:
    """Positions on both sides of every 2^31 boundary, in the output and in the gradient that comes back."""
    channels, bins = 4096, 16
    count = 2**31 // (channels * bins * bins) + 8
    input = torch.randn(1, channels, 4, 4).bfloat16().requires_grad_()
    rois = make_rois(count, 4, batch=1)
    output = ldie_ext.roi_align(input, rois, bins)
    assert output.numel() > 2**31
    sample = torch.tensor([0, count // 2, count - 9, count - 8, count - 1])
    assert_same(output[sample], ldie_ext.roi_align(input, rois[sample], bins))
    last = ldie_ext.roi_align(input, rois[-2:], bins)
    tangent = torch.zeros_like(output)
    tangent[-2:] = 1
    (grad,) = torch.autograd.grad(output, input, tangent)
    (wanted,) = torch.autograd.grad(last.sum(), input)
    assert_same(grad, wanted)
