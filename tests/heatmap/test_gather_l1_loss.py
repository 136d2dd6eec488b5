"""gather_l1_loss against the plain reference, on every backend."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import reference.heatmap as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13, torch.float16: 1e-3, torch.bfloat16: 8e-3}

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def sample(
    batch: int = 3,
    slots: int = 20,
    channels: int = 2,
    size: tuple[int, int] = (5, 7),
    dtype: torch.dtype = torch.float32,
) -> Inputs:
    """More slots than cells would need, so that some share one."""
    index = torch.randint(0, size[0] * size[1], (batch, slots))
    valid = torch.rand(batch, slots) < 0.7
    target = torch.randn(batch, slots, channels, dtype=torch.float64).to(dtype)
    return torch.randn(batch, channels, *size, dtype=torch.float64).to(dtype), index, target, valid


def on(backend: Backend, inputs: Inputs) -> Inputs:
    maps, index, target, valid = (tensor.to(backend.device) for tensor in inputs)
    return maps, index, target, valid


def loss_and_gradient(function: Callable[..., torch.Tensor], inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    maps = inputs[0].detach().requires_grad_()
    loss = function(maps, *inputs[1:])
    (gradient,) = torch.autograd.grad(3 * loss, maps)
    return loss.detach(), gradient


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for batch, slots, channels in ((3, 20, 2), (1, 1, 1), (2, 300, 5)):
        inputs = sample(batch, slots, channels, dtype=dtype)
        loss, gradient = loss_and_gradient(ldie_ext.gather_l1_loss, on(backend, inputs))
        exact = tuple(t.double() if t.is_floating_point() else t for t in inputs)
        expected = loss_and_gradient(reference.gather_l1_loss, exact)
        assert loss.dtype == gradient.dtype == dtype
        tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
        torch.testing.assert_close(loss.cpu().double(), expected[0], **tolerance)
        torch.testing.assert_close(gradient.cpu().double(), expected[1], **tolerance)


def test_gradcheck(backend: Backend) -> None:
    maps, *others = on(backend, sample(2, 12, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda maps: ldie_ext.gather_l1_loss(maps, *others), maps.requires_grad_())


@pytest.mark.parametrize(
    ("batch", "slots", "channels", "size"),
    [(0, 3, 2, (4, 4)), (2, 0, 2, (4, 4)), (2, 3, 0, (4, 4)), (2, 3, 2, (0, 4))],
)
def test_nothing_counts(backend: Backend, batch: int, slots: int, channels: int, size: tuple[int, int]) -> None:
    maps = torch.randn(batch, channels, *size)
    index, valid = torch.zeros(batch, slots, dtype=torch.int64), torch.ones(batch, slots, dtype=torch.bool)
    loss, gradient = loss_and_gradient(
        ldie_ext.gather_l1_loss, on(backend, (maps, index, torch.zeros(batch, slots, channels), valid))
    )
    assert loss == 0
    assert gradient.shape == maps.shape
    assert not gradient.any()


def test_slots_that_do_not_count(backend: Backend) -> None:
    """What stands in them, NaN included, is never looked at; indices outside the map are such slots too."""
    maps, index, target, valid = sample()
    expected = loss_and_gradient(reference.gather_l1_loss, (maps, index, target, valid))
    index, target = torch.where(valid, index, -1), torch.where(valid[..., None], target, math.nan)
    extra = torch.tensor([[-1, 35, 2**40, -(2**40)]]).expand(3, 4)
    inputs = (
        maps,
        torch.cat([index, extra], 1),
        torch.cat([target, torch.zeros(3, 4, 2)], 1),
        torch.cat([valid, torch.ones(3, 4, dtype=torch.bool)], 1),
    )
    loss, gradient = loss_and_gradient(ldie_ext.gather_l1_loss, on(backend, inputs))
    torch.testing.assert_close((loss.cpu(), gradient.cpu()), expected)


def test_repeated_cells_and_zero_error(backend: Backend) -> None:
    maps = torch.zeros(1, 1, 2, 2)
    target = torch.tensor([[[-1.0], [-2], [3], [0], [5]]])
    index, valid = torch.tensor([[1, 1, 1, 2, 3]]), torch.ones(1, 5, dtype=torch.bool)
    loss, gradient = loss_and_gradient(ldie_ext.gather_l1_loss, on(backend, (maps, index, target, valid)))
    torch.testing.assert_close(loss.cpu(), torch.tensor(11 / 5.0001))
    torch.testing.assert_close(gradient.cpu().flatten(), torch.tensor([0, 1.0, 0, -1]) * 3 / 5.0001)


def test_nan_prediction_makes_the_loss_nan(backend: Backend) -> None:
    maps, index, target, valid = sample()
    assert ldie_ext.gather_l1_loss(*on(backend, (maps * math.nan, index, target, valid))).isnan()


def test_takes_center_targets(backend: Backend) -> None:
    boxes = torch.tensor([[1.0, 1, 4, 3], [2, 2, 6, 5], [3, 1, 1, 4]], dtype=torch.float64).to(backend.device)
    labels, offsets = (torch.tensor(values).to(backend.device) for values in ([0, 0, 0], [0, 1, 3]))
    targets = ldie_ext.center_targets(boxes, labels, offsets, (8, 8), 4)
    maps = torch.zeros(2, 2, 8, 8, dtype=torch.float64, device=backend.device)
    loss = ldie_ext.gather_l1_loss(maps, targets.index, targets.wh, targets.valid)
    torch.testing.assert_close(loss.item(), (3 + 2 + 4 + 3) / 4.0001)


def test_non_contiguous(backend: Backend) -> None:
    maps, index, target, valid = on(backend, sample())
    strided = (maps.to(memory_format=torch.channels_last), index.repeat_interleave(2, 1)[:, ::2],
               target.transpose(0, 2).contiguous().transpose(0, 2), valid.repeat_interleave(3, 1)[:, ::3])  # fmt: skip
    expected = loss_and_gradient(ldie_ext.gather_l1_loss, (maps, index, target, valid))
    assert_same(loss_and_gradient(ldie_ext.gather_l1_loss, strided), expected)


def test_autocast(backend: Backend) -> None:
    maps, index, target, valid = on(backend, sample())
    half = maps.bfloat16().requires_grad_()
    with torch.autocast(backend.device.type, dtype=torch.bfloat16):
        loss = ldie_ext.gather_l1_loss(half, index, target, valid)
    assert loss.dtype == torch.float32
    assert_same(loss, ldie_ext.gather_l1_loss(half.float(), index, target, valid))
    loss.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_errors_name_the_argument(backend: Backend) -> None:
    maps, index, target, valid = on(backend, sample())
    call = ldie_ext.gather_l1_loss
    with pytest.raises(RuntimeError, match=r"gather_l1_loss: maps must have shape \[B, C, H, W\]"):
        call(maps[0], index, target, valid)
    with pytest.raises(RuntimeError, match=r"index must have shape \[B, M\], got \[2, 20\]"):
        call(maps, index[:2], target, valid)
    with pytest.raises(RuntimeError, match="index must be int64"):
        call(maps, index.int(), target, valid)
    with pytest.raises(RuntimeError, match=r"target must have shape \[B, M, C\]"):
        call(maps, index, target[..., :1], valid)
    with pytest.raises(RuntimeError, match=r"target must be float32, got \[3, 20, 2\] float64"):
        call(maps, index, target.double(), valid)
    with pytest.raises(RuntimeError, match="valid must be bool"):
        call(maps, index, target, valid.long())
    with pytest.raises(RuntimeError, match=r"valid must have shape \[B, M\]"):
        call(maps, index, target, valid[:, 1:])


def test_refused_gradients(backend: Backend) -> None:
    maps, index, target, valid = on(backend, sample())
    with pytest.raises(RuntimeError, match="target has no gradient"):
        ldie_ext.gather_l1_loss(maps, index, target.requires_grad_(), valid).backward()
    maps.requires_grad_()
    loss = ldie_ext.gather_l1_loss(maps, index, target.detach(), valid)
    (gradient,) = torch.autograd.grad(loss.square(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="gather_l1_loss_backward is not differentiable"):
        gradient.sum().backward()


def test_dispatcher_contract(backend: Backend) -> None:
    maps, *others = on(backend, sample())
    torch.library.opcheck(backend.op("gather_l1_loss"), (maps.requires_grad_(), *others))
    scale = torch.tensor(0.1, device=backend.device)
    torch.library.opcheck(backend.op("gather_l1_loss_backward"), (scale * 5, scale, maps.detach(), *others))


def test_compiles(backend: Backend) -> None:
    inputs = on(backend, sample())
    assert_compiles(ldie_ext.gather_l1_loss, *inputs)
    torch._dynamo.reset()
    compiled = torch.compile(ldie_ext.gather_l1_loss, fullgraph=True, backend="aot_eager")
    assert_same(loss_and_gradient(compiled, inputs), loss_and_gradient(ldie_ext.gather_l1_loss, inputs))


def test_threads_agree() -> None:
    inputs = sample(batch=16, slots=4096, size=(32, 32))
    assert_threads_agree(lambda: loss_and_gradient(ldie_ext.gather_l1_loss, inputs))
