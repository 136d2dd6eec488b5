"""encode_boxes and decode_boxes against the composed formulas on every backend; torchvision where it is installed."""

from __future__ import annotations

import math

import pytest
import reference.anchors as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (0.3, 2.0, 7.0, 1.1)]
CLIP = math.log(1000 / 16)
SIZES = [None, (150, 200)]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12, torch.float16: 1e-3, torch.bfloat16: 8e-3}
NAN, INF = float("nan"), float("inf")


def boxes_and_proposals(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Boxes of at least 4 pixels, so that 16 bits leave them a size."""
    grown = torch.tensor([-2.0, -2.0, 2.0, 2.0])
    return tuple((random_boxes(count, 150, 200) + grown).to(dtype) for _ in range(2))


def random_deltas(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Of all sizes, some beyond the clip."""
    return (torch.randn(*shape, dtype=torch.float64) * torch.tensor([0.1, 1.0, 4.0, 40.0]).repeat(shape[-1] // 4)).to(
        dtype
    )


def assert_near(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Relative to the sizes at hand: a small coordinate is a difference of large ones."""
    assert actual.dtype == dtype
    scale = expected[expected.isfinite()].abs().amax().item() if expected.isfinite().any() else 1.0
    expected = expected.to(dtype)
    torch.testing.assert_close(
        actual.cpu(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale, equal_nan=True
    )


def gradients(function: object, inputs: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    return torch.autograd.grad(function(*leaves), leaves, grad)


@pytest.mark.sanitize
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_encode_matches_reference(backend: Backend, dtype: torch.dtype, weights: tuple[float, ...]) -> None:
    for count in (1, 5, 300):
        boxes, proposals = boxes_and_proposals(count, dtype)
        deltas = ldie_ext.encode_boxes(boxes.to(backend.device), proposals.to(backend.device), weights)
        wide = reference.encode_boxes(boxes.double(), proposals.double(), weights)
        assert_near(deltas, wide, dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_decode_matches_reference(
    backend: Backend, dtype: torch.dtype, weights: tuple[float, ...], size: tuple[int, int] | None
) -> None:
    for shape in ((1, 4), (300, 4), (40, 12), (3, 700, 4)):
        proposals, deltas = random_boxes(shape[0], 150, 200).to(dtype), random_deltas(*shape, dtype=dtype) * 0.2
        boxes = ldie_ext.decode_boxes(deltas.to(backend.device), proposals.to(backend.device), weights, size=size)
        assert boxes.shape == deltas.shape
        assert_near(boxes, reference.decode_boxes(deltas.double(), proposals.double(), weights, CLIP, size), dtype)


@pytest.mark.sanitize
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_encode_gradients_match_reference(backend: Backend, dtype: torch.dtype, weights: tuple[float, ...]) -> None:
    boxes, proposals = boxes_and_proposals(300, dtype)
    grad = torch.randn(300, 4).to(dtype)
    inputs = boxes.to(backend.device), proposals.to(backend.device)
    actual = gradients(lambda *args: ldie_ext.encode_boxes(*args, weights), inputs, grad.to(backend.device))
    wide = boxes.double(), proposals.double()
    expected = gradients(lambda *args: reference.encode_boxes(*args, weights), wide, grad.double())
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other.to(dtype), rtol=20 * TOLERANCE[dtype], atol=20 * TOLERANCE[dtype])


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(300, 4), (40, 12), (3, 700, 4)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_decode_gradients_match_reference(
    backend: Backend, dtype: torch.dtype, shape: tuple[int, ...], size: tuple[int, int] | None
) -> None:
    weights = WEIGHTS[2]
    proposals, deltas = random_boxes(shape[0], 150, 200).to(dtype), random_deltas(*shape, dtype=dtype) * 0.2
    grad = torch.randn(shape).to(dtype)
    inputs = deltas.to(backend.device), proposals.to(backend.device)
    actual = gradients(lambda *args: ldie_ext.decode_boxes(*args, weights, size=size), inputs, grad.to(backend.device))
    wide = deltas.double(), proposals.double()
    expected = gradients(lambda *args: reference.decode_boxes(*args, weights, CLIP, size), wide, grad.double())
    for one, other in zip(actual, expected, strict=True):
        assert_near(one, other, dtype)


def test_gradient_of_deltas_alone(backend: Backend) -> None:
    """Asking for less changes nothing of it."""
    proposals, deltas = random_boxes(30, 150, 200).to(backend.device), random_deltas(30, 8).to(backend.device)
    grad = torch.randn(30, 8, device=backend.device)
    both = gradients(ldie_ext.decode_boxes, (deltas, proposals), grad)
    assert_same(gradients(lambda leaf: ldie_ext.decode_boxes(leaf, proposals), (deltas,), grad)[0], both[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_on_the_bounds_are_those_of_clamp(backend: Backend, dtype: torch.dtype) -> None:
    """Exactly at the clip and at the image's border, just beyond, and NaN."""
    clip, size = 1.5, (8, 16)
    proposals = torch.tensor([[4, 2, 8, 6.0]], dtype=dtype).repeat(6, 1)
    deltas = torch.zeros(6, 4, dtype=dtype)
    deltas[0, 2:] = torch.tensor([1.5, 1.5])  # at the clip
    deltas[1, 2:] = torch.tensor([1.5001, 2.0])  # beyond
    deltas[2, :2] = torch.tensor([-1.0, -0.5])  # x1 and y1 are 0
    deltas[3, :2] = torch.tensor([2.0, 0.5])  # x2 and y2 are the border
    deltas[4, :2] = torch.tensor([-1.25, 0.75])  # outside
    deltas[5, 2] = NAN
    for bounds in (None, size):
        inputs = deltas.to(backend.device), proposals.to(backend.device)
        grad = torch.arange(1.0, 25.0, dtype=dtype).reshape(6, 4)
        actual = gradients(
            lambda *a, s=bounds: ldie_ext.decode_boxes(*a, clip=clip, size=s), inputs, grad.to(backend.device)
        )
        expected = gradients(
            lambda *a, s=bounds: reference.decode_boxes(*a, WEIGHTS[0], clip, s), (deltas, proposals), grad
        )
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=2e-6, atol=1e-5, equal_nan=True)


def test_round_trip(backend: Backend) -> None:
    boxes, proposals = (tensor.to(backend.device) for tensor in boxes_and_proposals(200, torch.float64))
    for weights in WEIGHTS:
        deltas = ldie_ext.encode_boxes(boxes, proposals, weights)
        torch.testing.assert_close(ldie_ext.decode_boxes(deltas, proposals, weights, clip=INF), boxes)


@pytest.mark.parametrize("dtype", FLOATS)
def test_degenerate_boxes(backend: Backend, dtype: torch.dtype) -> None:
    """Whatever the formula gives: no width, inverted, infinite, NaN."""
    kinds = torch.tensor(
        [[0, 0, 4, 4], [1, 1, 1, 5], [3, 3, 1, 1], [0, 0, INF, 2], [NAN, 0, 1, 1], [-INF, 0, INF, 1], [0, 0, 0, 0]],
        dtype=dtype,
    )
    boxes, proposals = kinds.repeat(7, 1), kinds.repeat_interleave(7, 0)
    deltas = ldie_ext.encode_boxes(boxes.to(backend.device), proposals.to(backend.device))
    expected = reference.encode_boxes(boxes.double(), proposals.double(), WEIGHTS[0])
    torch.testing.assert_close(deltas.cpu(), expected.to(dtype), equal_nan=True)
    moves = torch.tensor(
        [[0, 0, 0, 0], [1, 1, -INF, 0], [INF, 0, 0, 0], [0, 0, INF, NAN], [0, 0, -200, 1]], dtype=dtype
    )
    deltas, proposals = moves.repeat(7, 1), kinds.repeat_interleave(5, 0)
    for size in SIZES:
        decoded = ldie_ext.decode_boxes(deltas.to(backend.device), proposals.to(backend.device), size=size).cpu()
        expected = reference.decode_boxes(deltas.double(), proposals.double(), WEIGHTS[0], CLIP, size)
        torch.testing.assert_close(decoded, expected.to(dtype), equal_nan=True)


def test_huge_and_tiny_sizes(backend: Backend) -> None:
    """The logarithm over all of float32's range, subnormal sizes too, and the clip that keeps its inverse finite."""
    exponents = torch.arange(-148, 128)
    boxes = torch.zeros(len(exponents), 4, dtype=torch.float64)
    boxes[:, 2:] = 1.3 * 2.0 ** exponents[:, None].double()
    boxes = boxes.clamp(max=3e38).float()
    proposals = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(boxes), 4)
    deltas = ldie_ext.encode_boxes(boxes.to(backend.device), proposals.to(backend.device)).cpu()
    torch.testing.assert_close(deltas[:, 2:], boxes[:, 2:].double().log().float(), rtol=2e-7, atol=0)
    grown = ldie_ext.decode_boxes(
        torch.tensor([[0.0, 0.0, 500.0, 80.0]], device=backend.device), proposals[:1].to(backend.device), clip=INF
    )
    assert grown.isfinite().all()
    torch.testing.assert_close(grown[0, 3].item(), 0.5 + math.exp(80) / 2, rtol=2e-6, atol=0)


def test_empty(backend: Backend) -> None:
    none = torch.zeros(0, 4, device=backend.device, requires_grad=True)
    assert ldie_ext.encode_boxes(none, none).shape == (0, 4)
    for shape in ((0, 4), (0, 12), (0, 3, 4), (5, 0), (5, 0, 4)):
        proposals = torch.zeros(shape[0], 4, device=backend.device, requires_grad=True)
        deltas = torch.zeros(shape, device=backend.device, requires_grad=True)
        boxes = ldie_ext.decode_boxes(deltas, proposals, size=(4, 4))
        assert boxes.shape == shape
        assert_same(torch.autograd.grad(boxes.sum(), proposals)[0], torch.zeros_like(proposals))


@pytest.mark.parametrize("dtype", FLOATS)
def test_non_contiguous_and_misaligned(backend: Backend, dtype: torch.dtype) -> None:
    boxes, proposals = (tensor.to(backend.device) for tensor in boxes_and_proposals(50, dtype))
    deltas = random_deltas(50, 8, dtype=dtype).to(backend.device)

    def everything(a: Tensor, b: Tensor, moves: Tensor) -> tuple[Tensor, ...]:
        grad = torch.ones_like(moves)
        return (
            ldie_ext.encode_boxes(a, b),
            ldie_ext.decode_boxes(moves, b),
            *gradients(ldie_ext.encode_boxes, (a, b), grad[:, :4]),
            *gradients(ldie_ext.decode_boxes, (moves, b), grad),
        )

    def shifted(tensor: Tensor) -> Tensor:  # off a 16-byte boundary
        return torch.cat([tensor.flatten()[:1], tensor.flatten()])[1:].view(tensor.shape)

    expected = everything(boxes, proposals, deltas)
    strided = (tensor.t().contiguous().t() for tensor in (boxes, proposals, deltas))
    assert_same(everything(*strided), expected)
    assert_same(everything(*map(shifted, (boxes, proposals, deltas))), expected)
    backward = backend.op("decode_boxes_backward")
    grad = shifted(torch.ones_like(deltas))
    assert_same(backward(grad, shifted(deltas), shifted(proposals), [1.0] * 4, CLIP, None, True), expected[4:])


def test_dtypes_are_promoted(backend: Backend) -> None:
    """16-bit deltas of float32 anchors give float32 boxes, as only float32 holds coordinates."""
    proposals, deltas = random_boxes(20, 3000, 4000).to(backend.device), random_deltas(20, 4).half().to(backend.device)
    boxes = ldie_ext.decode_boxes(deltas, proposals)
    assert_same(boxes, ldie_ext.decode_boxes(deltas.float(), proposals))
    assert_same(ldie_ext.encode_boxes(proposals.double(), proposals), torch.zeros_like(boxes, dtype=torch.float64))
    leaves = [deltas.clone().requires_grad_(), proposals.clone().requires_grad_()]
    grads = torch.autograd.grad(ldie_ext.decode_boxes(*leaves).sum(), leaves)
    assert [grad.dtype for grad in grads] == [torch.float16, torch.float32]


def test_autocast_computes_in_float32(backend: Backend) -> None:
    boxes, proposals = (tensor.to(backend.device) for tensor in boxes_and_proposals(20, torch.bfloat16))
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        deltas = ldie_ext.encode_boxes(boxes, proposals)
        decoded = ldie_ext.decode_boxes(deltas.bfloat16(), proposals)
    assert deltas.dtype == decoded.dtype == torch.float32


@pytest.mark.parametrize("size", [None, (90, 120)])
def test_gradcheck(backend: Backend, size: tuple[int, int] | None) -> None:
    boxes, proposals = (tensor.to(backend.device).requires_grad_() for tensor in boxes_and_proposals(6, torch.float64))
    deltas = (random_deltas(6, 8, dtype=torch.float64) * 0.1).to(backend.device).requires_grad_()
    weights = WEIGHTS[2]
    assert torch.autograd.gradcheck(lambda a, b: ldie_ext.encode_boxes(a, b, weights), (boxes, proposals))
    assert torch.autograd.gradcheck(
        lambda a, b: ldie_ext.decode_boxes(a, b, weights, clip=0.4, size=size), (deltas, proposals)
    )


def test_refused_second_derivative(backend: Backend) -> None:
    boxes, proposals = (tensor.to(backend.device).requires_grad_() for tensor in boxes_and_proposals(3))
    for function, name in ((ldie_ext.encode_boxes, "encode"), (ldie_ext.decode_boxes, "decode")):
        gradient, *_ = torch.autograd.grad(function(boxes, proposals).square().sum(), boxes, create_graph=True)
        with pytest.raises(RuntimeError, match=f"{name}_boxes_backward is not differentiable"):
            gradient.sum().backward()


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, proposals = (tensor.to(backend.device) for tensor in boxes_and_proposals(3))
    with pytest.raises(RuntimeError, match=r"reference must have shape \[N, 4\], got \[3, 3\] float32"):
        ldie_ext.encode_boxes(boxes[:, 1:], proposals)
    with pytest.raises(RuntimeError, match="proposals must have the shape of reference"):
        ldie_ext.encode_boxes(boxes, proposals[1:])
    with pytest.raises(RuntimeError, match="reference must be float32"):
        ldie_ext.encode_boxes(boxes.long(), proposals.long())
    for weights in ((1, 1, 1), (1, 1, 1, 0), (1, 1, 1, NAN), (INF, 1, 1, 1)):
        with pytest.raises(RuntimeError, match="weights must be four positive finite numbers"):
            ldie_ext.encode_boxes(boxes, proposals, weights)
    with pytest.raises(RuntimeError, match=r"deltas must have shape \[N, 4 K\] or \[N, K, 4\], got \[3, 6\] float32"):
        ldie_ext.decode_boxes(boxes.repeat(1, 2)[:, :6], proposals)
    with pytest.raises(RuntimeError, match=r"proposals must have shape \[N, 4\], one for each row of deltas"):
        ldie_ext.decode_boxes(boxes, proposals[1:])
    with pytest.raises(RuntimeError, match="clip must be a number, got NaN"):
        ldie_ext.decode_boxes(boxes, proposals, clip=NAN)
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\) with 0 <= side"):
        ldie_ext.decode_boxes(boxes, proposals, size=(-1, 5))
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\), got 3 numbers"):
        ldie_ext.decode_boxes(boxes, proposals, size=(1, 5, 3))
    with pytest.raises(RuntimeError, match="grad must have the shape of deltas"):
        backend.op("decode_boxes_backward")(boxes[1:], boxes, proposals, [1.0] * 4, CLIP, None, True)


def test_dispatcher_contract(backend: Backend) -> None:
    boxes, proposals = (tensor.to(backend.device).requires_grad_() for tensor in boxes_and_proposals(5))
    deltas, weights = random_deltas(5, 8).to(backend.device).requires_grad_(), [1.0, 2.0, 3.0, 4.0]
    torch.library.opcheck(backend.op("encode_boxes"), (boxes, proposals, weights))
    for size in (None, [90, 120]):
        torch.library.opcheck(backend.op("decode_boxes"), (deltas, proposals, weights, CLIP, size))
    plain = boxes.detach(), proposals.detach()
    torch.library.opcheck(backend.op("encode_boxes_backward"), (plain[0], *plain, weights))
    for of_proposals in (True, False):
        arguments = (deltas.detach(), deltas.detach(), plain[1], weights, CLIP, [90, 120], of_proposals)
        torch.library.opcheck(backend.op("decode_boxes_backward"), arguments)


def test_compiles(backend: Backend) -> None:
    boxes, proposals = (tensor.to(backend.device) for tensor in boxes_and_proposals(5))

    def there_and_back(a: Tensor, b: Tensor) -> Tensor:
        deltas = ldie_ext.encode_boxes(a, b, WEIGHTS[1])
        return ldie_ext.decode_boxes(deltas, b, WEIGHTS[1], size=(90, a.shape[0] * 30))

    assert_compiles(there_and_back, boxes, proposals)
    grad = torch.ones_like(boxes)
    compiled = gradients(torch.compile(there_and_back, fullgraph=True, backend="aot_eager"), (boxes, proposals), grad)
    assert_same(compiled, gradients(there_and_back, (boxes, proposals), grad))


def test_threads_agree() -> None:
    boxes, proposals = boxes_and_proposals(30_001)
    deltas, grad = random_deltas(30_001, 8), torch.randn(30_001, 8)
    assert_threads_agree(lambda: ldie_ext.encode_boxes(boxes, proposals))
    assert_threads_agree(lambda: ldie_ext.decode_boxes(deltas, proposals, size=(150, 200)))
    assert_threads_agree(lambda: gradients(ldie_ext.encode_boxes, (boxes, proposals), grad[:, :4]))
    assert_threads_agree(lambda: gradients(ldie_ext.decode_boxes, (deltas, proposals), grad))


def test_matches_torchvision() -> None:
    utils = pytest.importorskip("torchvision").models.detection._utils
    clip_boxes_to_image = pytest.importorskip("torchvision").ops.clip_boxes_to_image
    for number in range(300):
        weights, size = WEIGHTS[number % 3], SIZES[number % 2]
        coder = utils.BoxCoder(weights)
        boxes, proposals = boxes_and_proposals(1 + number)
        deltas = random_deltas(1 + number, 4 * (1 + number % 4))
        encoded = ldie_ext.encode_boxes(boxes, proposals, weights)
        torch.testing.assert_close(encoded, coder.encode_single(boxes, proposals), rtol=2e-6, atol=2e-6)
        expected = coder.decode(deltas, [proposals])
        if size:
            expected = clip_boxes_to_image(expected, size)
        decoded = ldie_ext.decode_boxes(deltas.view(expected.shape), proposals, weights, size=size)
        torch.testing.assert_close(decoded, expected, rtol=2e-6, atol=1e-3)
        assert_same(ldie_ext.decode_boxes(deltas, proposals, weights, size=size), decoded.flatten(1))
