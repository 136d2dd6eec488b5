"""gated_conv against products, shifts and sums, and the convolution of multiplied features, on every backend."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import reference.gated_conv as reference
import torch
from backends import CPU, SANITIZED, Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, peak_bytes
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INF, NAN = float("inf"), float("nan")
#: Of sums of some ten products of normal numbers, and of 16 bits the last rounding.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}

Maps = tuple[Tensor, Tensor]


def sample(batch: int, count: int, outputs: int, side: int, size: tuple[int, int], dtype: torch.dtype) -> Maps:
    gates, responses = torch.randn(batch, count, *size), torch.randn(batch, outputs, side * side, *size)
    return gates.to(dtype), responses.to(dtype)


def random_case(number: int) -> Maps:
    """Windows larger than maps, maps wider than registers and tiles, numbers of maps that no tile divides."""
    rng = random.Random(number)
    torch.manual_seed(number)
    side = rng.choice([1, 3, 3, 5, 7, 7, 9])
    size = rng.choice([1, 2, 5, 13]), rng.choice([1, 3, 11, 17, 37])
    shape = rng.choice([1, 2]), rng.choice([1, 2, 5, 9]), rng.choice([1, 1, 2, 3, 4])
    return sample(*shape, side, size, rng.choice(FLOATS))


def with_gradients(function: Callable[..., Tensor], gates: Tensor, responses: Tensor, grad: Tensor) -> list[Tensor]:
    leaves = gates.detach().requires_grad_(), responses.detach().requires_grad_()
    output = function(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


@pytest.mark.sanitize
def test_matches_reference(backend: Backend) -> None:
    for number in range(500 if backend is CPU else 8 if SANITIZED else 60):
        gates, responses = random_case(number)
        grad = torch.randn(*gates.shape[:2], responses.shape[1], *gates.shape[2:]).to(gates.dtype)
        ours = with_gradients(ldie_ext.gated_conv, *(t.to(backend.device) for t in (gates, responses, grad)))
        expected = with_gradients(reference.gated_conv, *(t.double() for t in (gates, responses, grad)))
        tolerance = TOLERANCE[gates.dtype]
        for actual, wanted in zip(ours, expected, strict=True):
            assert actual.dtype == gates.dtype
            torch.testing.assert_close(
                actual.cpu().double(), wanted, rtol=tolerance, atol=tolerance, msg=lambda m, n=number: f"{n}: {m}"
            )


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("side", [3, 7])
def test_is_the_convolution_of_multiplied_features(backend: Backend, side: int, outputs: int) -> None:
    """Output and the gradients of gates, features and weight."""
    leaves = [torch.randn(2, 6, 13, 21), torch.randn(2, 8, 13, 21), torch.randn(outputs, 8, side, side)]
    ours = [leaf.to(backend.device).requires_grad_() for leaf in leaves]
    wanted = [leaf.double().requires_grad_() for leaf in leaves]
    output = ldie_ext.gated_conv(ours[0], reference.responses_of(*ours[1:]))
    expected = reference.conv_of_multiplied(*wanted)
    grad = torch.randn(expected.shape)
    results = [output, *torch.autograd.grad(output, ours, grad.to(backend.device))]
    for actual, other in zip(results, [expected, *torch.autograd.grad(expected, wanted, grad.double())], strict=True):
        torch.testing.assert_close(actual.detach().cpu().double(), other.detach(), rtol=1e-4, atol=2e-4)


def test_sizes_that_matter(backend: Backend) -> None:
    """Several bands, tiles and registers, with numbers of hypotheses as the levels have them."""
    for count, outputs, side, size in ((20, 1, 7, (25, 42)), (13, 3, 3, (50, 84))):
        gates, responses = sample(1, count, outputs, side, size, torch.float32)
        ours = ldie_ext.gated_conv(gates.to(backend.device), responses.to(backend.device))
        expected = reference.gated_conv(gates, responses)
        torch.testing.assert_close(ours.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [3, 7])
def test_backends_are_close(backend: Backend, side: int) -> None:
    """The same terms in the same order, so that in float64 only the rounding of products tells them apart."""
    gates, responses = sample(2, 5, 3, side, (9, 20), torch.float64)
    grad = torch.randn(2, 5, 3, 9, 20, dtype=torch.float64)
    ours = with_gradients(ldie_ext.gated_conv, *(t.to(backend.device) for t in (gates, responses, grad)))
    on_cpu = with_gradients(CPU.op("gated_conv"), gates, responses, grad)
    for actual, wanted in zip(ours, on_cpu, strict=True):
        torch.testing.assert_close(actual.cpu(), wanted, rtol=1e-14, atol=1e-14)


def test_nothing_comes_from_outside(backend: Backend) -> None:
    """What stands beside the border in another row, and a response to a tap of no cell, has no part in anything."""
    for special in (NAN, INF):
        gates, responses = sample(1, 3, 1, 5, (6, 18), torch.float32)
        grad = torch.randn(1, 3, 1, 6, 18)
        finite = with_gradients(reference.gated_conv, gates, responses, grad)
        gates[0, 1, 2, 17] = special
        responses[0, 0, 3, 4, 0] = special  # to the tap (-2, 1), of the cell (6, -1)
        output, of_gates, of_responses = with_gradients(
            ldie_ext.gated_conv, *(t.to(backend.device) for t in (gates, responses, grad))
        )
        reached = torch.zeros(1, 3, 1, 6, 18, dtype=torch.bool)
        reached[0, 1, 0, :5, 15:] = True
        assert torch.equal(output.cpu().isfinite(), ~reached)
        torch.testing.assert_close(output.cpu()[~reached], finite[0][~reached], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(of_gates.cpu(), finite[1], rtol=1e-4, atol=1e-4)
        taps = of_responses.cpu()[0, 0].view(5, 5, 6, 18)
        assert taps[0, :, 4:].eq(0).all() and taps[4, :, :2].eq(0).all()
        assert taps[:, 0, :, 16:].eq(0).all() and taps[:, 4, :, :2].eq(0).all()
        assert not taps[2, 2, 2, 17].isfinite() and taps[2, 2, 2, :17].isfinite().all()


@pytest.mark.parametrize("shape", [(0, 2, 1, 3, 4, 5), (1, 0, 2, 3, 4, 5), (1, 2, 0, 3, 4, 5), (1, 2, 2, 3, 0, 5)])
def test_empty(backend: Backend, shape: tuple[int, ...]) -> None:
    batch, count, outputs, side, *size = shape
    gates = torch.ones(batch, count, *size, device=backend.device, requires_grad=True)
    responses = torch.ones(batch, outputs, side**2, *size, device=backend.device, requires_grad=True)
    output = ldie_ext.gated_conv(gates, responses)
    assert output.shape == (batch, count, outputs, *size)
    for leaf, gradient in zip((gates, responses), torch.autograd.grad(output.sum(), (gates, responses)), strict=True):
        assert_same(gradient, torch.zeros_like(leaf))


def test_non_contiguous(backend: Backend) -> None:
    gates, responses = (t.to(backend.device) for t in sample(2, 3, 2, 3, (8, 18), torch.float32))
    grad = torch.ones((), device=backend.device).expand(2, 3, 2, 8, 18)
    expected = with_gradients(ldie_ext.gated_conv, gates, responses, grad.contiguous())
    strided = (
        gates.contiguous(memory_format=torch.channels_last),
        responses.transpose(3, 4).contiguous().transpose(3, 4),
    )
    assert not strided[0].is_contiguous() and not strided[1].is_contiguous()
    for actual, wanted in zip(with_gradients(ldie_ext.gated_conv, *strided, grad), expected, strict=True):
        assert_same(actual, wanted)


@pytest.mark.parametrize("shape", [(1, 2, 1, 3, (3, 4)), (2, 3, 2, 5, (4, 3))])
def test_gradcheck(backend: Backend, shape: tuple[int, int, int, int, tuple[int, int]]) -> None:
    leaves = [t.to(backend.device).requires_grad_() for t in sample(*shape, torch.float64)]
    assert torch.autograd.gradcheck(ldie_ext.gated_conv, leaves)


@pytest.mark.parametrize("wanted", [0, 1])
def test_one_gradient_alone(backend: Backend, wanted: int) -> None:
    leaves = [t.to(backend.device) for t in sample(1, 3, 2, 3, (5, 6), torch.float32)]
    grad = torch.randn(1, 3, 2, 5, 6, device=backend.device)
    both = with_gradients(ldie_ext.gated_conv, *leaves, grad)
    leaves[wanted].requires_grad_()
    (alone,) = torch.autograd.grad(ldie_ext.gated_conv(*leaves), leaves[wanted], grad)
    assert_same(alone, both[1 + wanted])


def test_refuses_a_second_derivative(backend: Backend) -> None:
    leaves = [t.to(backend.device).requires_grad_() for t in sample(1, 2, 1, 3, (4, 5), torch.float32)]
    (gradient,) = torch.autograd.grad(ldie_ext.gated_conv(*leaves).square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="gated_conv_backward is not differentiable"):
        gradient.sum().backward()


def test_sums_of_16_bits_are_float32(backend: Backend) -> None:
    """2048 + 1 is 2048 in float16, and 49 terms would stay there."""
    gates = torch.ones(1, 1, 7, 7, dtype=torch.float16, device=backend.device)
    responses = torch.ones(1, 1, 49, 7, 7, dtype=torch.float16, device=backend.device)
    responses[0, 0, 0] = 2048
    assert ldie_ext.gated_conv(gates, responses)[0, 0, 0, 3, 3] == 2048 + 48


def test_autocast_computes_in_float32(backend: Backend) -> None:
    gates, responses = (t.to(backend.device) for t in sample(1, 2, 1, 3, (4, 5), torch.float32))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        mixed = ldie_ext.gated_conv(gates, responses.bfloat16())
    assert_same(mixed, ldie_ext.gated_conv(gates, responses.bfloat16().float()))


def test_memory_is_that_of_output_and_gradients() -> None:
    """Of 80 hypotheses and windows of 7 x 7; the products would be 49 times the output."""
    gates, responses = sample(1, 80, 1, 7, (50, 84), torch.float32)
    grad = torch.randn(1, 80, 1, 50, 84)
    leaves = gates.requires_grad_(), responses.requires_grad_()
    scratch = 1 << 20
    with torch.no_grad():
        assert peak_bytes(lambda: ldie_ext.gated_conv(*leaves)) <= grad.nbytes + scratch
    step = lambda: torch.autograd.grad(ldie_ext.gated_conv(*leaves), leaves, grad)  # noqa: E731
    assert peak_bytes(step) <= grad.nbytes + gates.nbytes + responses.nbytes + 2 * scratch


def test_errors_name_the_argument(backend: Backend) -> None:
    gates, responses = (t.to(backend.device) for t in sample(2, 3, 1, 3, (4, 5), torch.float32))
    call = ldie_ext.gated_conv
    with pytest.raises(RuntimeError, match=r"gated_conv: gates must have shape \[B, A, h, w\], got \[3, 4, 5\]"):
        call(gates[0], responses)
    with pytest.raises(RuntimeError, match="gates must be float32"):
        call(gates.long(), responses)
    with pytest.raises(RuntimeError, match=r"responses must have shape \[B, O, K \* K, h, w\], got \[1, 1, 9, 4, 5\]"):
        call(gates, responses[:1])
    with pytest.raises(RuntimeError, match="responses must be float32"):
        call(gates, responses.double())
    for taps in (0, 4, 8):
        with pytest.raises(RuntimeError, match=r"responses must have K \* K taps with K odd, got"):
            call(gates, responses[:, :, :taps])
    with pytest.raises(RuntimeError, match=r"gated_conv_backward: grad must have shape \[B, A, O, h, w\]"):
        backend.op("gated_conv_backward")(gates, gates, responses, True, True)


def test_dispatcher_contract(backend: Backend) -> None:
    leaves = [t.to(backend.device).requires_grad_() for t in sample(2, 3, 2, 3, (4, 5), torch.float32)]
    torch.library.opcheck(backend.op("gated_conv"), leaves)
    grad = torch.randn(2, 3, 2, 4, 5, device=backend.device)
    for needs in ((True, True), (False, True), (True, False)):
        torch.library.opcheck(backend.op("gated_conv_backward"), (grad, *(t.detach() for t in leaves), *needs))


def test_compiles(backend: Backend) -> None:
    leaves = [t.to(backend.device) for t in sample(2, 3, 2, 3, (4, 5), torch.float32)]
    assert_compiles(ldie_ext.gated_conv, *leaves)
    grad = torch.randn(2, 3, 2, 4, 5, device=backend.device)
    assert_compiles(lambda *args: torch.ops.ldie_ext.gated_conv_backward(*args, True, True), grad, *leaves)


def test_threads_agree() -> None:
    gates, responses = sample(2, 9, 3, 7, (33, 50), torch.float32)
    grad = torch.randn(2, 9, 3, 33, 50)
    assert_threads_agree(lambda: tuple(with_gradients(ldie_ext.gated_conv, gates, responses, grad)))
