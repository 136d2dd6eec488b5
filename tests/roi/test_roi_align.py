"""roi_align against the plain reference on every backend, and against torchvision where it is installed."""

from __future__ import annotations

import pytest
import reference.roi as reference
import torch
from backends import Backend
from roi.cases import Case, make_case

import ldie_ext

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def expected(case: Case, input: torch.Tensor) -> torch.Tensor:
    return reference.multiscale_roi_align(
        [input], case.images, case.boxes, case.size, [case.scale], case.ratio, case.aligned
    )


def assert_close(actual: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual.cpu(), wanted, rtol=tolerance, atol=tolerance * max(1.0, _largest(wanted)))


def _largest(tensor: torch.Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def check_case(case: Case, backend: Backend, memory_format: torch.memory_format) -> None:
    """Output and gradient of one case against the reference."""
    input = case.input.to(backend.device, memory_format=memory_format).detach().requires_grad_()
    plain = case.input.clone().requires_grad_()
    output = ldie_ext.roi_align(input, case.rois.to(backend.device), *case.options)
    wanted = expected(case, plain)
    tolerance = TOLERANCE[case.input.dtype]
    assert_close(output.detach(), wanted.detach(), tolerance)
    tangent = torch.randn_like(wanted)
    output.backward(tangent.to(backend.device))
    wanted.backward(tangent)
    assert_close(input.grad, plain.grad, tolerance)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_reference(backend: Backend, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    count, largest = (12, 14) if backend.name == "emulated" else (120, 90)
    for number in range(count):
        check_case(make_case(number, dtype, largest), backend, memory_format)
