"""segment_mean_pool against the plain reference, on every backend."""

from __future__ import annotations

import pytest
import reference.segments as reference
import torch
from backends import CPU, EMULATED, Backend, load_emulated
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13, torch.float16: 5e-4, torch.bfloat16: 4e-3}
FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
#: B, C, H, W and segments: parts and several of a lane's 32 channels, of a tile's 2048 pixels and of a chunk's 1024.
SHAPES = [(2, 5, 7, 9, 4), (1, 33, 40, 61, 6), (2, 64, 3, 11, 40), (1, 1, 65, 33, 2), (3, 2, 1, 1, 1)]


def segment_map(batch: int, height: int, width: int, count: int, *, connected: bool = True) -> Tensor:
    """Segments of neighbouring pixels, or of any; some pixels are in none, and of some segments there are none."""
    ids = torch.randint(-1, count, (batch, -(-height // 4), -(-width // 4)) if connected else (batch, height, width))
    if connected:
        ids = ids.repeat_interleave(4, 1)[:, :height].repeat_interleave(4, 2)[:, :, :width]
    return ids.contiguous()


def inputs(shape: tuple[int, ...], *, connected: bool = True) -> tuple[Tensor, Tensor, int]:
    batch, channels, height, width, count = shape
    return (
        torch.randn(batch, channels, height, width),
        segment_map(batch, height, width, count, connected=connected),
        count,
    )


def pooled(backend: Backend, features: Tensor, segments: Tensor, count: int, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """The means and the features' gradient."""
    leaf = features.detach().to(backend.device).requires_grad_()
    means = ldie_ext.segment_mean_pool(leaf, segments.to(backend.device), count)
    (grad,) = torch.autograd.grad(means, leaf, tangent.to(backend.device, means.dtype))
    return means.detach().cpu(), grad.cpu()


def expected(features: Tensor, segments: Tensor, count: int, tangent: Tensor) -> tuple[Tensor, Tensor]:
    leaf = features.double().requires_grad_()
    means = reference.segment_mean_pool(leaf, segments, count)
    if not means.requires_grad:  # no segment has a pixel
        return means, torch.zeros_like(leaf)
    (grad,) = torch.autograd.grad(means, leaf, tangent.to(features.dtype).double())
    return means.detach(), grad


@pytest.mark.sanitize
@FORMATS
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "scattered"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    backend: Backend, shape: tuple[int, ...], connected: bool, memory_format: torch.memory_format
) -> None:
    features, segments, count = inputs(shape, connected=connected)
    for dtype in FLOATS:
        given = features.to(dtype, memory_format=memory_format)
        tangent = torch.randn(len(given), count, given.shape[1])
        means, grad = pooled(backend, given, segments, count, tangent)
        assert means.dtype == grad.dtype == dtype
        wanted = expected(given, segments, count, tangent)
        for actual, each in zip((means, grad), wanted, strict=True):
            torch.testing.assert_close(actual.double(), each, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert grad.is_contiguous(memory_format=memory_format)


@FORMATS
def test_more_segments_than_shared_memory_holds(backend: Backend, memory_format: torch.memory_format) -> None:
    """And several chunks of them; most stay empty."""
    features, segments, count = inputs((2, 34, 90, 100, 300), connected=False)
    segments = segments * 2  # every other one
    tangent = torch.randn(2, 600, 34)
    actual = pooled(backend, features.to(memory_format=memory_format), segments, 2 * count, tangent)
    wanted = expected(features, segments, 2 * count, tangent)
    for one, other in zip(actual, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-6, atol=2e-6)
    assert not actual[0][:, 1::2].any()


def test_pixels_of_no_segment(backend: Backend) -> None:
    """Whatever their number is and whatever stands there."""
    features, segments, count = inputs((2, 3, 8, 9, 3))
    segments[0, 2, 3:7] = torch.tensor([-1, 3, -(2**62), 2**62])
    outside = (segments < 0) | (segments >= count)
    features.masked_fill_(outside[:, None], float("nan"))
    tangent = torch.randn(2, count, 3)
    means, grad = pooled(backend, features, segments, count, tangent)
    wanted = expected(features.nan_to_num(), segments, count, tangent)
    torch.testing.assert_close(means.double(), wanted[0], rtol=2e-6, atol=2e-6)
    assert not grad.permute(1, 0, 2, 3)[:, outside].any()
    all_outside = torch.full_like(segments, -1)
    means, grad = pooled(backend, features, all_outside, count, tangent)
    assert_same((means, grad), (torch.zeros_like(means), torch.zeros_like(grad)))


def test_nan_and_infinity_stay_in_their_segment(backend: Backend) -> None:
    features, segments = torch.ones(1, 2, 4, 6), torch.arange(4).repeat_interleave(6).view(1, 4, 6)
    features[0, 0, 1, 2], features[0, 1, 2, 3] = float("nan"), float("inf")
    means = ldie_ext.segment_mean_pool(features.to(backend.device), segments.to(backend.device), 4).cpu()
    assert_same(means[0, :, 0], torch.tensor([1, float("nan"), 1, 1]))
    assert_same(means[0, :, 1], torch.tensor([1, 1, float("inf"), 1]))


def test_half_precision_sums_do_not_overflow(backend: Backend) -> None:
    features = torch.full((1, 2, 200, 300), 60000.0, dtype=torch.float16, device=backend.device)
    segments = torch.zeros(1, 200, 300, dtype=torch.int64, device=backend.device)
    assert (ldie_ext.segment_mean_pool(features, segments, 1) == 60000).all()


@FORMATS
@pytest.mark.parametrize("dtype", FLOATS)
def test_emulated_equals_cpu(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Gradients bit for bit; sums within what their order costs."""
    load_emulated()
    features, segments, count = inputs((2, 40, 33, 70, 9))
    last = memory_format is torch.channels_last
    given = features.to(dtype, memory_format=memory_format), segments, count, last
    means, counts = zip(*(each.op("segment_mean_pool")(*given) for each in (CPU, EMULATED)), strict=True)
    assert_same(counts[0], counts[1])
    torch.testing.assert_close(means[0], means[1], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    grads = [each.op("segment_mean_pool_backward")(means[0], counts[0], segments, last) for each in (CPU, EMULATED)]
    assert_same(grads[0], grads[1])


@pytest.mark.parametrize("shape", [(0, 3, 4, 5, 2), (2, 0, 4, 5, 2), (2, 3, 0, 5, 2), (2, 3, 4, 0, 2), (2, 3, 4, 5, 0)])
def test_empty(backend: Backend, shape: tuple[int, ...]) -> None:
    batch, channels, height, width, count = shape
    features, segments = torch.randn(batch, channels, height, width), torch.zeros(batch, height, width).long()
    tangent = torch.randn(batch, count, channels)
    means, grad = pooled(backend, features, segments, count, tangent)
    assert_same(means, torch.zeros(batch, count, channels))
    assert_same(grad, torch.zeros_like(features))


def test_int32_non_contiguous_and_misaligned(backend: Backend) -> None:
    features, segments, count = inputs((2, 8, 6, 10, 4))
    tangent = torch.randn(2, count, 8)
    whole = pooled(backend, features, segments, count, tangent)
    assert_same(pooled(backend, features, segments.int(), count, tangent), whole)
    spread = features.repeat_interleave(2, -1)[..., ::2], segments.repeat_interleave(2, -1)[..., ::2]
    assert_same(pooled(backend, *spread, count, tangent), whole)
    shifted = torch.cat([features.flatten()[:1], features.flatten()])[1:].view(features.shape)
    assert_same(pooled(backend, shifted, segments, count, tangent.mT.contiguous().mT), whole)
    turned = features.transpose(2, 3).contiguous().transpose(2, 3)
    assert_same(pooled(backend, turned, segments, count, tangent), whole)


def test_inputs_are_not_written(backend: Backend) -> None:
    features, segments, count = (each.to(backend.device) if isinstance(each, Tensor) else each
                                 for each in inputs((2, 5, 6, 7, 3)))  # fmt: skip
    before = features.clone(), segments.clone()
    ldie_ext.segment_mean_pool(features.requires_grad_(), segments, count).sum().backward()
    assert_same((features.detach(), segments), before)


@FORMATS
def test_gradients_of_gradients(backend: Backend, memory_format: torch.memory_format) -> None:
    features, segments, count = inputs((2, 3, 5, 6, 4))
    leaf = features.double().to(backend.device, memory_format=memory_format).requires_grad_()
    there = segments.to(backend.device)
    assert torch.autograd.gradcheck(lambda x: ldie_ext.segment_mean_pool(x, there, count), (leaf,))
    assert torch.autograd.gradgradcheck(lambda x: ldie_ext.segment_mean_pool(x, there, count), (leaf,))


def test_errors_name_the_argument(backend: Backend) -> None:
    features, segments, count = inputs((2, 3, 5, 6, 4))
    features, segments = features.to(backend.device), segments.to(backend.device)

    def refused(message: str, **changed: object) -> None:
        with pytest.raises(RuntimeError, match=message):
            ldie_ext.segment_mean_pool(
                **{"features": features, "segments": segments, "num_segments": count, **changed}  # type: ignore[arg-type]
            )

    refused(r"features must have shape \[B, C, H, W\], got \[2, 3, 30\] float32", features=features.flatten(2))
    refused(r"features must be float32, float64, float16 or bfloat16, got .* int64", features=features.long())
    refused(r"segments must have shape \[B, H, W\], as features, got \[2, 4, 6\] int64", segments=segments[:, 1:])
    refused(r"segments must have shape \[B, H, W\], as features", segments=segments[:1])
    refused(r"segments must be int64, got \[2, 5, 6\] float32", segments=segments.float())
    refused(r"num_segments must be at least 0 and below 2\^31, got -1", num_segments=-1)
    refused(r"num_segments must be at least 0 and below 2\^31, got 2147483648", num_segments=2**31)
    backward = backend.op("segment_mean_pool_backward")
    grad, counts = (
        torch.zeros(2, 4, 3, device=backend.device),
        torch.ones(2, 4, dtype=torch.int64, device=backend.device),
    )
    with pytest.raises(RuntimeError, match=r"grad must have shape \[B, S, C\], B as in segments"):
        backward(grad[:1], counts, segments, False)
    with pytest.raises(RuntimeError, match=r"counts must have shape \[B, S\]"):
        backward(grad, counts[:, 1:], segments, False)


@FORMATS
def test_dispatcher_contract(backend: Backend, memory_format: torch.memory_format) -> None:
    features, segments, count = inputs((2, 3, 5, 6, 4))
    given = features.to(backend.device, memory_format=memory_format).requires_grad_()
    last = memory_format is torch.channels_last
    segments = segments.to(backend.device)
    torch.library.opcheck(backend.op("segment_mean_pool"), (given, segments, count, last))
    counts = torch.ones(2, count, dtype=torch.int64, device=backend.device)
    grad = torch.randn(2, count, 3, device=backend.device).requires_grad_()
    torch.library.opcheck(backend.op("segment_mean_pool_backward"), (grad, counts, segments, last))


def test_compiles(backend: Backend) -> None:
    features, segments, count = inputs((2, 3, 5, 6, 4))
    features, segments = features.to(backend.device), segments.to(backend.device)
    assert_compiles(lambda *given: ldie_ext.segment_mean_pool(*given, count), features, segments)
    assert_compiles(lambda *given: ldie_ext.segment_mean_pool(*given, count), features.requires_grad_(), segments.int())


@FORMATS
def test_threads_agree(memory_format: torch.memory_format) -> None:
    features, segments, count = inputs((3, 70, 50, 60, 8))
    given = features.to(memory_format=memory_format)
    assert_threads_agree(lambda: ldie_ext.segment_mean_pool(given, segments, count))
    last = memory_format is torch.channels_last
    means, counts = CPU.op("segment_mean_pool")(given, segments, count, last)
    assert_threads_agree(lambda: CPU.op("segment_mean_pool_backward")(means, counts, segments, last))
