"""roi_align against the plain reference on every backend, and against torchvision where it is installed."""

from __future__ import annotations

import itertools

import pytest
import reference.roi as reference
import torch
from backends import Backend
from op_checks import assert_same, assert_threads_agree
from roi.cases import INF, NAN, NOT_FINITE, Case, make_boxes, make_case
from torch import Tensor

import ldie_ext

FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def assert_close(actual: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Within `tolerance` of the largest value."""
    scale = float(wanted.detach().abs().max()) if wanted.numel() else 1.0
    torch.testing.assert_close(actual.cpu(), wanted, rtol=tolerance, atol=tolerance * max(1.0, scale))


def check_case(case: Case, backend: Backend, memory_format: torch.memory_format) -> None:
    """Output and gradient of one case against the reference."""
    input = case.input.to(backend.device, memory_format=memory_format).detach().requires_grad_()
    plain = case.input.clone().requires_grad_()
    output = ldie_ext.roi_align(input, case.rois.to(backend.device), *case.options)
    wanted = reference.multiscale_roi_align(
        [plain], case.images, case.boxes, case.size, [case.scale], case.ratio, case.aligned
    )
    tolerance = TOLERANCE[case.input.dtype]
    assert_close(output, wanted, tolerance)
    tangent = torch.randn_like(wanted)
    output.backward(tangent.to(backend.device))
    wanted.backward(tangent)
    assert_close(input.grad, plain.grad, tolerance)


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_reference(backend: Backend, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    count, largest = (8, 12) if backend.name == "emulated" else (50, 100)
    for number in range(count):
        check_case(make_case(number, dtype, largest), backend, memory_format)


@pytest.mark.sanitize
@FORMATS
def test_matches_reference_in_few_cases(backend: Backend, memory_format: torch.memory_format) -> None:
    for number in (1, 3):
        check_case(make_case(number, torch.float32, 9), backend, memory_format)


@FORMATS
@pytest.mark.parametrize("ratio", [-1, 2])
def test_many_columns_and_channels(memory_format: torch.memory_format, ratio: int) -> None:
    """Rows in registers and too wide for them, more bins than registers hold, whole blocks of channels."""
    for bins, channels in (((3, 7), 3), ((2, 70), 2), ((4, 5), 150)):
        input = torch.randn(2, channels, 40, 190, dtype=torch.float64)
        boxes = torch.cat([make_boxes(30, 190, torch.float64), torch.tensor([[0.0, 0.0, 190.0, 40.0]])])
        case = Case(input, [0, 1] * 15 + [1], boxes, bins, 1.0, ratio, True)
        for dtype in (torch.float32, torch.float64):
            typed = Case(input.to(dtype), case.images, boxes.to(dtype), bins, 1.0, ratio, True)
            check_case(typed, _cpu(), memory_format)


def _cpu() -> Backend:
    return Backend("cpu", torch.device("cpu"), "ldie_ext")


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(backend: Backend, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Coordinates and sums are float32: the result is float32's, rounded once, with boxes of either type."""
    input, boxes = torch.randn(2, 20, 12, 30).to(dtype), make_boxes(8, 30)
    rois = torch.cat([torch.tensor([0.0, 1.0] * 4)[:, None], boxes], dim=1)
    half = input.to(backend.device, memory_format=memory_format).detach().requires_grad_()
    full = input.float().to(backend.device, memory_format=memory_format).detach().requires_grad_()
    for each in (rois, rois.to(dtype)):
        each = each.to(backend.device)
        output = ldie_ext.roi_align(half, each, (7, 5), 1.0, 2)
        wanted = ldie_ext.roi_align(full, each.float(), (7, 5), 1.0, 2)
        assert output.dtype is dtype
        assert_same(output, wanted.to(dtype))
        tangent = torch.randn(wanted.shape).to(dtype).to(backend.device)
        (grad,) = torch.autograd.grad(output, half, tangent)
        (wanted_grad,) = torch.autograd.grad(wanted, full, tangent.float())
        assert_same(grad, wanted_grad.to(dtype))


def test_boxes_as_a_list(backend: Backend) -> None:
    input, boxes = torch.randn(3, 2, 9, 9, device=backend.device), make_boxes(5, 9).to(backend.device)
    lists = [boxes[:2], boxes[2:2], boxes[2:]]
    index = torch.tensor([0.0, 0, 2, 2, 2], device=backend.device)
    wanted = ldie_ext.roi_align(input, torch.cat([index[:, None], boxes], dim=1), 3)
    assert_same(ldie_ext.roi_align(input, lists, 3), wanted)
    assert_same(ldie_ext.roi_align(input, tuple(lists), (3, 3)), wanted)
    fraction = index + torch.tensor([0.9, -0.5, 0.1, 0.0, 0.5], device=backend.device)  # truncated toward 0
    assert_same(ldie_ext.roi_align(input, torch.cat([fraction[:, None], boxes], dim=1), 3), wanted)


@FORMATS
def test_rois_without_an_image(backend: Backend, memory_format: torch.memory_format) -> None:
    """NaN, infinities, images that do not exist: output 0, no gradient, and the RoIs beside them untouched."""
    input = torch.ones(2, 3, 8, 8, device=backend.device).to(memory_format=memory_format).requires_grad_()
    good = [1.0, 0.0, 0.0, 4.0, 4.0]
    bad = [[0.0, *box] for box in NOT_FINITE] + [[image, 0, 0, 4, 4] for image in (-1.0, 2.0, NAN, INF, -INF, 1e30)]
    output = ldie_ext.roi_align(input, torch.tensor([*bad, good], device=backend.device), 2, 1.0, -1, True)
    assert not output[:-1].any()
    assert (output[-1] == 1).all()
    output.sum().backward()
    assert not input.grad[0].any()
    assert input.grad.sum().item() == pytest.approx(12)


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_infinite_corners(backend: Backend, aligned: bool, ratio: int) -> None:
    """Every corner on either axis: 0, but for an end of minus infinity, which is an end before the begin."""
    input = torch.rand(1, 2, 8, 9, device=backend.device) + 1
    for corner in range(4):
        for value in (INF, -INF, NAN):
            roi = torch.tensor([[0, 2.0, 1.0, 6.0, 7.0]], device=backend.device)
            roi[0, 1 + corner] = value
            output = ldie_ext.roi_align(input, roi, (2, 3), 1.0, ratio, aligned)
            if corner >= 2 and value == -INF and not aligned:
                roi[0, 1 + corner] = -5.0
                assert_same(output, ldie_ext.roi_align(input, roi, (2, 3), 1.0, ratio, aligned))
                assert output.all()
            else:
                assert not output.any()


def test_values_beside_the_bins_do_not_matter(backend: Backend) -> None:
    """An infinity in the map reaches the bins that read its cell, and no others."""
    input = torch.ones(1, 1, 32, 40, device=backend.device)
    input[0, 0, :, 10] = INF
    input[0, 0, 20] = NAN
    rois = torch.tensor([[0.0, 0.0, 0.0, 24.0, 16.0], [0.0, 12.0, 0.0, 30.0, 16.0]], device=backend.device)
    output = ldie_ext.roi_align(input, rois, (4, 6), 1.0, 1).cpu()
    assert (output[0, 0, :, [0, 1, 3, 4, 5]] == 1).all()
    assert not output[0, 0, :, 2].isfinite().any()
    assert (output[1] == 1).all()


def test_huge_boxes_end(backend: Backend) -> None:
    """A grid is at most 16384 samples wide, whatever the box."""
    input = torch.ones(1, 1, 6, 6, device=backend.device)
    rois = torch.tensor([[0, -1e9, 1.0, 1e9, 2.0], [0, 0, 0, 3e37, 3e37]], device=backend.device)
    output = ldie_ext.roi_align(input, rois, 1)
    assert output.isfinite().all()
    assert output.max() < 0.01
    with pytest.raises(RuntimeError, match="sampling_ratio must be at most 16384"):
        ldie_ext.roi_align(input, rois, 1, 1.0, 16385)


@FORMATS
def test_empty(backend: Backend, memory_format: torch.memory_format) -> None:
    rois = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]], device=backend.device)
    for shape, count in (((2, 3, 8, 8), 0), ((0, 3, 8, 8), 1), ((2, 0, 8, 8), 1), ((2, 3, 0, 8), 1), ((2, 3, 8, 0), 1)):
        input = torch.ones(shape, device=backend.device).to(memory_format=memory_format).requires_grad_()
        output = ldie_ext.roi_align(input, rois[:count], (2, 5))
        assert output.shape == (count, shape[1], 2, 5)
        assert not output.any()
        output.sum().backward()
        assert input.grad.shape == shape
        assert not input.grad.any()
    output = ldie_ext.roi_align(torch.ones(2, 3, 8, 8, device=backend.device), [rois[:0, 1:]] * 2, 2)
    assert output.shape == (0, 3, 2, 2)


def test_formats_of_the_result(backend: Backend) -> None:
    """Channels-last maps give channels-last outputs and gradients; any other strides count as the standard format."""
    rois = torch.tensor([[1.0, 0.0, 0.0, 6.0, 5.0]] * 2, device=backend.device)
    input = torch.randn(2, 5, 7, 9, device=backend.device)
    wanted = ldie_ext.roi_align(input, rois, 3)
    last = input.to(memory_format=torch.channels_last).requires_grad_()
    output = ldie_ext.roi_align(last, rois, 3)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output.detach(), wanted)
    (grad,) = torch.autograd.grad(output.sum(), last)
    assert grad.is_contiguous(memory_format=torch.channels_last)
    strided = input.transpose(2, 3).contiguous().transpose(2, 3)
    assert ldie_ext.roi_align(strided, rois, 3).is_contiguous()
    assert_same(ldie_ext.roi_align(strided, rois.t().contiguous().t(), 3), wanted)
    assert_same(
        ldie_ext.roi_align(input[:, :, ::2, 1:], rois, 3), ldie_ext.roi_align(input[:, :, ::2, 1:].clone(), rois, 3)
    )


def test_errors_name_the_argument(backend: Backend) -> None:
    input, rois = torch.ones(2, 3, 8, 8, device=backend.device), torch.ones(4, 5, device=backend.device)
    call = ldie_ext.roi_align
    with pytest.raises(RuntimeError, match=r"roi_align: features\[0\] must have shape \[B, C, H, W\], got \[3, 8, 8\]"):
        call(input[0], rois, 2)
    with pytest.raises(RuntimeError, match=r"features\[0\] must be float32"):
        call(input.int(), rois, 2)
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[K, 5\], got \[4, 4\]"):
        call(input, rois[:, 1:], 2)
    with pytest.raises(RuntimeError, match=r"offsets must have shape \[B \+ 1\], B as in features"):
        call(input, [rois[:, 1:]], 2)
    with pytest.raises(RuntimeError, match="the height of output_size must be at least 1, got 0"):
        call(input, rois, (0, 2))
    with pytest.raises(RuntimeError, match="the width of output_size must be at least 1, got -3"):
        call(input, rois, (2, -3))
    with pytest.raises(RuntimeError, match="spatial_scales must be above 0 and finite, got 0"):
        call(input, rois, 2, 0.0)


def test_threads_agree() -> None:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for channels, dtype in ((1, torch.float32), (70, torch.float32), (70, torch.bfloat16)):
            input = torch.randn(2, channels, 60, 80).to(dtype).to(memory_format=memory_format).requires_grad_()
            rois = torch.cat([torch.randint(0, 2, (90, 1)).float(), make_boxes(90, 80)], dim=1)

            def both(input: Tensor = input, rois: Tensor = rois) -> tuple[Tensor, ...]:
                output = ldie_ext.roi_align(input, rois, 7)
                return output, *torch.autograd.grad((output * output).sum(), input)

            assert_threads_agree(both)


@FORMATS
def test_kr_21_vectors_of_detectron2(backend: Backend, memory_format: torch.memory_format) -> None:
    """Cells that count up, a box of 2 x 2 cells in 4 x 4 bins: half a cell too far right and down if not aligned."""
    input = torch.arange(25.0, device=backend.device).view(1, 1, 5, 5).to(memory_format=memory_format)
    rois = torch.tensor([[0.0, 1.0, 1.0, 3.0, 3.0]], device=backend.device)
    first = torch.tensor([4.5, 5.0, 5.5, 6.0], device=backend.device)
    aligned = first + 2.5 * torch.arange(4, device=backend.device)[:, None]
    for ratio in (-1, 0, 1, 2, 3):
        for shift, is_aligned in ((0.0, True), (0.5 + 5 * 0.5, False)):
            output = ldie_ext.roi_align(input, rois, 4, 1.0, ratio, is_aligned)
            torch.testing.assert_close(output[0, 0], aligned + shift)
    twice = torch.nn.functional.interpolate(input, scale_factor=2.0, mode="bilinear", align_corners=False)
    larger = ldie_ext.roi_align(twice, rois, 4, 2.0, 2, True)
    torch.testing.assert_close(larger[0, 0], aligned)  # the resolution of the map does not matter


def test_kr_22_every_sampling_ratio(backend: Backend) -> None:
    """Of one box with bins of 2.5 x 1.5 cells: r x r bilinear samples, and rounded up 3 x 2 where it adapts."""
    input = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    box = torch.tensor([[1.2, 2.3, 6.2, 5.3]], dtype=torch.float64)
    for ratio in (0, 1, 2, 3):
        across, down = (3, 2) if ratio == 0 else (ratio, ratio)
        expected = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
        for row, column, i, j in itertools.product(range(2), range(2), range(down), range(across)):
            y = 2.3 - 0.5 + (row + (i + 0.5) / down) * 1.5
            x = 1.2 - 0.5 + (column + (j + 0.5) / across) * 2.5
            top, left = int(y), int(x)
            for cell_y, cell_x in itertools.product((top, top + 1), (left, left + 1)):
                weight = (1 - abs(y - cell_y)) * (1 - abs(x - cell_x))
                expected[0, :, row, column] += weight * input[0, :, cell_y, cell_x] / (across * down)
        output = ldie_ext.roi_align(input.to(backend.device), [box.to(backend.device)], 2, 1.0, ratio, True)
        torch.testing.assert_close(output.cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_torchvision(dtype: torch.dtype) -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(500):
        case = make_case(number, dtype, 70)
        ours, theirs = (case.input.clone().requires_grad_() for _ in range(2))
        rois = case.rois
        if case.aligned and case.ratio <= 0:  # torchvision allocates a negative number of samples for inverted boxes
            rois = rois[(rois[:, 3:] >= rois[:, 1:3]).all(dim=1)]
        output = ldie_ext.roi_align(ours, rois, *case.options)
        wanted = tv.roi_align(theirs, rois, *case.options)
        assert_close(output, wanted, TOLERANCE[dtype])
        tangent = torch.randn_like(wanted)
        output.backward(tangent)
        wanted.backward(tangent)
        assert_close(ours.grad, theirs.grad, TOLERANCE[dtype])
