"""deform_conv2d against the plain reference on every backend, and against torchvision where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
import reference.conv as reference
import torch
from backends import Backend
from conv.deform_cases import Case, make_case
from op_checks import assert_compiles, assert_same, assert_threads_agree, peak_bytes
from torch import Tensor

import ldie_ext

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 1.5e-1}
ONE = torch.ones(())


def ramp(case: Case) -> Tensor:
    """A gradient for the output that differs from element to element."""
    output = case.call(reference.deform_conv2d)
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)


def assert_close(actual: Tensor, expected: Tensor, dtype: torch.dtype, what: str = "output") -> None:
    assert actual.dtype == dtype
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(
        actual.double().cpu() / scale, expected.double() / scale, rtol=0, atol=TOLERANCE[dtype],
        msg=lambda text: f"{what}: {text}",
    )  # fmt: skip


@pytest.mark.sanitize
@pytest.mark.parametrize("number", range(8))
def test_matches_reference(backend: Backend, number: int) -> None:
    case = make_case(number, largest=8)
    grad = ramp(case)
    expected, expected_grads = case.gradients(reference.deform_conv2d, grad)
    output, grads = case.to(backend.device).gradients(ldie_ext.deform_conv2d, grad.to(backend.device))
    assert_close(output, expected, torch.float64)
    for name, gradient in grads.items():
        assert_close(gradient, expected_grads[name], torch.float64, name)


@pytest.mark.parametrize("number", range(8, 60))
def test_matches_reference_in_many_cases(number: int) -> None:
    case = make_case(number)
    expected, expected_grads = case.gradients(reference.deform_conv2d, ramp(case))
    output, grads = case.gradients(ldie_ext.deform_conv2d, ramp(case))
    assert_close(output, expected, torch.float64)
    for name, gradient in grads.items():
        assert_close(gradient, expected_grads[name], torch.float64, name)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_dtypes(backend: Backend, dtype: torch.dtype) -> None:
    """Wide accesses (16 channels), and more than one chunk of positions on the emulated backend."""
    case = wide_case(dtype)
    exact = case.to(torch.float64)
    grad = ramp(exact).to(dtype)
    expected, expected_grads = exact.gradients(reference.deform_conv2d, grad.double())
    output, grads = case.to(backend.device).gradients(ldie_ext.deform_conv2d, grad.to(backend.device))
    assert_close(output, expected, dtype)
    for name, gradient in grads.items():
        assert_close(gradient, expected_grads[name], dtype, name)


def wide_case(dtype: torch.dtype, batch: int = 2, channels: int = 16, side: int = 9) -> Case:
    tensors = {
        "input": torch.randn(batch, channels, side, side),
        "offset": torch.randn(batch, 18, side, side),
        "weight": torch.randn(8, channels, 3, 3) / 8,
        "bias": torch.randn(8),
        "mask": torch.rand(batch, 9, side, side),
    }
    return Case({name: tensor.to(dtype) for name, tensor in tensors.items()}, {"padding": (1, 1)})


def test_matches_torchvision() -> None:
    tv = pytest.importorskip("torchvision").ops
    for number in range(500):
        case = make_case(number)
        grad = ramp(case)
        expected, expected_grads = case.gradients(tv.deform_conv2d, grad)
        output, grads = case.gradients(ldie_ext.deform_conv2d, grad)
        assert_close(output, expected, torch.float64, f"case {number}")
        for name, gradient in grads.items():
            assert_close(gradient, expected_grads[name], torch.float64, f"case {number}, {name}")


def test_without_offsets_it_is_a_convolution(backend: Backend) -> None:
    case = wide_case(torch.float64).to(backend.device)
    image, weight, bias = (case.tensors[name] for name in ("input", "weight", "bias"))
    still = torch.zeros_like(case.tensors["offset"])
    expected = torch.nn.functional.conv2d(image, weight, bias, padding=1)
    torch.testing.assert_close(ldie_ext.deform_conv2d(image, still, weight, bias, padding=1), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("channels", "filters", "groups"), [(62, 262, 2), (3, 130, 1), (1, 1, 1)])
def test_products_of_many_tiles(channels: int, filters: int, groups: int, dtype: torch.dtype) -> None:
    """The CPU's products in tiles of 256 x 128 and steps of 256, on sizes that fill none of them."""
    torch.manual_seed(0)
    leaves = [
        torch.randn(1, channels, 17, 19, dtype=torch.float64),
        torch.randn(filters, channels // groups, 3, 3).double(),
    ]
    expected_leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    actual_leaves = [leaf.to(dtype).requires_grad_() for leaf in leaves]
    expected = torch.nn.functional.conv2d(*expected_leaves, padding=1, groups=groups)
    places = torch.zeros(1, 18, 17, 19, dtype=dtype)
    actual = ldie_ext.deform_conv2d(actual_leaves[0], places, actual_leaves[1], padding=1)
    grad = torch.randn_like(expected)
    pairs = zip(
        torch.autograd.grad(actual, actual_leaves, grad.to(dtype)),
        torch.autograd.grad(expected, expected_leaves, grad),
        strict=True,
    )
    for result, reference_result in [(actual.detach(), expected.detach()), *pairs]:
        scale = float(reference_result.abs().max())
        assert float((result.double() - reference_result).abs().max()) <= scale * (
            1e-13 if dtype == torch.float64 else 3e-6
        )


def test_places_that_are_no_places(backend: Backend) -> None:
    """NaN, infinite and distant places sample 0 and pass no gradient on; the others are as ever."""
    case = wide_case(torch.float64, batch=1, channels=4, side=5)
    del case.tensors["bias"]
    offset = case.tensors["offset"]
    offset[:, 0], offset[:, 3], offset[:, 4], offset[:, 7] = float("nan"), float("inf"), -float("inf"), 1e300
    expected, expected_grads = case.gradients(reference.deform_conv2d, ramp(case))
    output, grads = case.to(backend.device).gradients(ldie_ext.deform_conv2d, ramp(case).to(backend.device))
    assert_close(output, expected, torch.float64)
    for name, gradient in grads.items():
        assert_close(gradient, expected_grads[name], torch.float64, name)
    assert not grads["offset"][:, :8].any()


def test_pixels_that_are_not_sampled(backend: Backend) -> None:
    """An infinite pixel spoils the positions that read it and no others, also where it has weight 0."""
    image = torch.zeros(1, 1, 3, 3, device=backend.device)
    image[0, 0, 1, 1] = float("inf")
    still, weight = torch.zeros(1, 2, 3, 3, device=backend.device), torch.ones(1, 1, 1, 1, device=backend.device)
    assert_same(ldie_ext.deform_conv2d(image, still, weight), image)


@pytest.mark.parametrize("empty", ["batch", "filters", "image"])
def test_empty(backend: Backend, empty: str) -> None:
    batch, filters, side = (0 if empty == name else size for name, size in (("batch", 2), ("filters", 3), ("image", 4)))
    tensors = {
        "input": torch.randn(batch, 4, side, side),
        "offset": torch.randn(batch, 18, side + 2, side + 2),
        "weight": torch.randn(filters, 4, 3, 3),
        "bias": torch.randn(filters),
    }
    case = Case({name: tensor.to(backend.device) for name, tensor in tensors.items()}, {"padding": (2, 2)})
    output, grads = case.gradients(ldie_ext.deform_conv2d, ONE.to(backend.device))
    assert output.shape == (batch, filters, side + 2, side + 2)
    assert_same(output, tensors["bias"].to(backend.device)[:, None, None].expand_as(output).contiguous())
    assert all(grads[name].shape == tensor.shape for name, tensor in tensors.items())
    assert not any(grads[name].any() for name in ("input", "offset", "weight"))


def test_memory_formats(backend: Backend) -> None:
    case = wide_case(torch.float32).to(backend.device)
    expected, expected_grads = case.gradients(ldie_ext.deform_conv2d, ONE.to(backend.device))
    assert expected.is_contiguous()
    turned = {name: tensor.movedim(0, -1).contiguous().movedim(-1, 0) for name, tensor in case.tensors.items()}
    assert_same(Case(turned, case.options).call(ldie_ext.deform_conv2d).contiguous(), expected)
    last = dict(case.tensors, input=case.tensors["input"].contiguous(memory_format=torch.channels_last))
    output, grads = Case(last, case.options).gradients(ldie_ext.deform_conv2d, ONE.to(backend.device))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert grads["input"].is_contiguous(memory_format=torch.channels_last)
    assert_same(output.contiguous(), expected)
    for name, gradient in grads.items():
        assert_same(gradient.contiguous(), expected_grads[name])


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_gradcheck(backend: Backend, number: int) -> None:
    case = make_case(number, largest=6)
    case.tensors["offset"] = case.tensors["offset"].round() + 0.4  # bilinear weights have a corner at the pixels
    leaves = [tensor.to(backend.device).requires_grad_() for tensor in case.tensors.values()]

    def call(*tensors: Tensor) -> Tensor:
        return case.call(ldie_ext.deform_conv2d, dict(zip(case.tensors, tensors, strict=True)))

    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize("asked", [("input",), ("offset",), ("weight",), ("bias",), ("mask",), ("weight", "mask")])
def test_only_the_gradients_asked_for(backend: Backend, asked: tuple[str, ...]) -> None:
    case = wide_case(torch.float64, channels=4, side=4).to(backend.device)
    _, expected = case.gradients(ldie_ext.deform_conv2d, ONE.to(backend.device))
    leaves = {name: tensor.clone().requires_grad_(name in asked) for name, tensor in case.tensors.items()}
    case.call(ldie_ext.deform_conv2d, leaves).sum().backward()
    for name, tensor in leaves.items():
        assert (tensor.grad is not None) == (name in asked)
        if tensor.grad is not None:
            assert_same(tensor.grad, expected[name])


def test_double_backward_is_refused() -> None:
    case = wide_case(torch.float64, channels=2, side=3)
    leaves = {name: tensor.requires_grad_() for name, tensor in case.tensors.items()}
    output = case.call(ldie_ext.deform_conv2d, leaves)
    (grad,) = torch.autograd.grad(output.sum(), leaves["input"], create_graph=True)
    with pytest.raises(RuntimeError, match="deform_conv2d_backward is not differentiable"):
        grad.sum().backward()


def test_the_gradient_repeats_bit_for_bit(backend: Backend) -> None:
    """Many samples of one pixel: the order of their sum must not depend on anything."""
    case = wide_case(torch.float32).to(backend.device)
    case.tensors["offset"] = (case.tensors["offset"] * 0.1 - 2).contiguous()
    first, second = (case.gradients(ldie_ext.deform_conv2d, ONE.to(backend.device))[1] for _ in range(2))
    for name in first:
        assert_same(first[name], second[name])


def test_most_cells_hold_no_sample(backend: Backend) -> None:
    """Few samples, near the first pixels of the first image and the last of the last: all cells between are empty."""
    offset = torch.rand(2, 2, 3, 3, dtype=torch.float64)
    corner, place = torch.tensor([0.0, 21.0])[:, None, None], 10 * torch.arange(3)
    offset[:, 0] += corner - place[:, None]
    offset[:, 1] += corner - place
    tensors = {"input": torch.randn(2, 4, 23, 23), "weight": torch.randn(3, 4, 1, 1)}
    case = Case({**{name: tensor.double() for name, tensor in tensors.items()}, "offset": offset}, {"stride": (10, 10)})
    expected, expected_grads = case.gradients(reference.deform_conv2d, ramp(case))
    output, grads = case.to(backend.device).gradients(ldie_ext.deform_conv2d, ramp(case).to(backend.device))
    assert_close(output, expected, torch.float64)
    assert float(expected_grads["input"].abs().max()) > 0
    for name, gradient in grads.items():
        assert_close(gradient, expected_grads[name], torch.float64, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": (2, 4, 5)}, r"input must have shape \[N, C, H, W\]"),
        ({"weight": (4, 3, 3, 3)}, r"weight must have shape \[O, C / groups, kh, kw\] with groups that divide C = 4"),
        ({"weight": (3, 2, 3, 3)}, r"weight must have .* and O, got \[3, 2, 3, 3\]"),
        ({"weight": (4, 4, 0, 3)}, r"weight must have .* at least 1 each"),
        ({"offset": (2, 17, 5, 5)}, r"offset must have 2 \* offset_groups \* kh \* kw channels"),
        ({"offset": (2, 54, 5, 5)}, r"offset must have .* divide C = 4"),
        ({"offset": (1, 18, 5, 5)}, r"offset must have shape .* N of input"),
        ({"offset": (2, 18, 4, 5)}, r"offset must have shape .* got \[2, 18, 4, 5\]"),
        ({"mask": (2, 18, 5, 5)}, r"mask must have shape .* half the channels of offset"),
        ({"bias": (3,)}, r"bias must have shape \[O\]"),
        ({"stride": 0}, r"stride must be at least 1 and at most 2\^30, got \(0, 0\)"),
        ({"dilation": (1, 0)}, r"dilation must be at least 1 and at most 2\^30, got \(1, 0\)"),
        ({"padding": -1}, r"padding must be at least 0"),
        ({"padding": 2**31}, r"padding must be at least 0 and at most 2\^30"),
        ({"dilation": 9}, r"input must be at least as high as the kernel: 5 and twice the padding 1 against 19"),
    ],
)
def test_errors_name_the_argument(backend: Backend, change: dict[str, Any], message: str) -> None:
    case = wide_case(torch.float32, channels=4, side=5).to(backend.device)
    case.tensors["weight"], case.tensors["bias"] = case.tensors["weight"][:4], case.tensors["bias"][:4]
    arguments: dict[str, Any] = {**case.tensors, **case.options}
    for name, value in change.items():
        arguments[name] = torch.zeros(value, device=backend.device) if name in case.tensors else value
    with pytest.raises(RuntimeError, match=message):
        ldie_ext.deform_conv2d(**arguments)


@pytest.mark.parametrize("name", ["offset", "weight", "bias", "mask"])
def test_another_dtype_is_refused(backend: Backend, name: str) -> None:
    case = wide_case(torch.float32, channels=4, side=5).to(backend.device)
    case.tensors[name] = case.tensors[name].double()
    with pytest.raises(RuntimeError, match=f"{name} must be float32, got .* float64"):
        case.call(ldie_ext.deform_conv2d)


def test_autocast_computes_in_float32() -> None:
    case = wide_case(torch.float32)
    expected = case.call(ldie_ext.deform_conv2d)
    half = dict(case.tensors, input=case.tensors["input"].bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(case.call(ldie_ext.deform_conv2d), expected)
        output = case.call(ldie_ext.deform_conv2d, half)
    assert output.dtype == torch.bfloat16
    assert_close(output, expected, torch.bfloat16)


def test_dispatcher_contract(backend: Backend) -> None:
    for number in (0, 1):
        case = make_case(number, torch.float64, largest=6).to(backend.device)
        tensors = [case.tensors.get(name) for name in ("input", "offset", "weight", "bias", "mask")]
        options = [*case.options["stride"], *case.options["padding"], *case.options["dilation"]]
        with_grad = [None if tensor is None else tensor.requires_grad_() for tensor in tensors]
        torch.library.opcheck(backend.op("deform_conv2d"), (*with_grad, *options))
        image, offset, weight, _, mask = (None if tensor is None else tensor.detach() for tensor in tensors)
        grad = torch.ones_like(case.call(ldie_ext.deform_conv2d))
        for needs in ((True, True, True), (False, True, False)):
            arguments = (grad.detach(), image, offset, weight, mask, *options, *needs)
            torch.library.opcheck(backend.op("deform_conv2d_backward"), arguments)


def test_compiles(backend: Backend) -> None:
    case = wide_case(torch.float32, channels=4, side=5).to(backend.device)
    names = list(case.tensors)
    assert_compiles(
        lambda *tensors: case.call(ldie_ext.deform_conv2d, dict(zip(names, tensors, strict=True))),
        *case.tensors.values(),
    )


def test_exports_with_any_batch() -> None:
    class Layer(torch.nn.Module):
        def forward(self, image: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
            return ldie_ext.deform_conv2d(image, offset, weight, padding=1)

    case = wide_case(torch.float32, batch=3)
    arguments = tuple(case.tensors[name] for name in ("input", "offset", "weight"))
    batch = torch.export.Dim("batch")
    program = torch.export.export(Layer(), arguments, dynamic_shapes=({0: batch}, {0: batch}, None))
    other = tuple(wide_case(torch.float32, batch=5).tensors[name] for name in ("input", "offset", "weight"))
    assert_same(program.module()(*other), Layer()(*other))


def test_inference_mode(backend: Backend) -> None:
    case = wide_case(torch.float32).to(backend.device)
    expected = case.call(ldie_ext.deform_conv2d)
    with torch.inference_mode():
        assert_same(case.call(ldie_ext.deform_conv2d), expected)


def test_the_workspace_does_not_grow_with_the_batch() -> None:
    """Beyond a chunk of samples only tensors the size of inputs and outputs; all samples would be 9 inputs."""
    peaks, inputs = {}, {}
    for batch in (8, 24):
        case = wide_case(torch.float32, batch=batch, channels=64, side=40)
        peaks[batch] = peak_bytes(lambda case=case: case.gradients(ldie_ext.deform_conv2d, ONE))
        inputs[batch] = case.tensors["input"].nbytes
    assert peaks[24] - peaks[8] < 5 * (inputs[24] - inputs[8])


def test_threads_agree() -> None:
    case = wide_case(torch.float32, batch=3, channels=96, side=24)

    def everything() -> tuple[Tensor, ...]:
        output, grads = case.gradients(ldie_ext.deform_conv2d, ONE)
        return output, *grads.values()

    assert_threads_agree(everything)
