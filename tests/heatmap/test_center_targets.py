"""center_targets against the plain reference, on every backend."""

from __future__ import annotations

import pytest
import reference.heatmap as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes, random_offsets

import ldie_ext

SIZE = (19, 37)
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def sample(count: int, batch: int, dtype: torch.dtype = torch.float32) -> Batch:
    return random_boxes(count, *SIZE, dtype=dtype), torch.randint(-1, 4, (count,)), random_offsets(batch, count)


def on(backend: Backend, inputs: Batch) -> list[torch.Tensor]:
    return [tensor.to(backend.device) for tensor in inputs]


def assert_matches_reference(backend: Backend, inputs: Batch, size: tuple[int, int], slots: int) -> None:
    targets = ldie_ext.center_targets(*on(backend, inputs), size, slots)
    assert_same(tuple(t.cpu() for t in targets), tuple(reference.center_targets(*inputs, size, slots)))


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    for count, slots in ((0, 3), (1, 1), (9, 4), (200, 128)):
        assert_matches_reference(backend, sample(count, batch=3, dtype=dtype), SIZE, slots)


@pytest.mark.parametrize("size", [(1, 1), (0, 4), (4, 0), (2**20, 2**30)])
def test_sizes(backend: Backend, size: tuple[int, int]) -> None:
    """Indices beyond 2^32 where the map is that large."""
    boxes = torch.tensor([[0, 0, 1, 1], [2.0**29, 2.0**19, 2.0**29 + 8, 2.0**19 + 8]], dtype=torch.float64)
    assert_matches_reference(backend, (boxes, torch.tensor([0, 1]), torch.tensor([0, 2])), size, 3)


def test_degenerate_boxes(backend: Backend) -> None:
    nan, inf, huge = float("nan"), float("inf"), 3e38
    nothing = [[3, 3, 1, 1], [2, 2, 2, 5], [nan, 0, 4, 4], [0, 0, 4, nan], [-9, -9, -1, -1], [50, 50, 60, 60],
               [-inf, -inf, inf, inf], [-huge, 0, huge, 4], [4, 4, 12, 12]]  # fmt: skip
    boxes = torch.tensor([*nothing, [1.5, 1.5, 2, 2], [0, 0, 9, 9]])
    inputs = boxes, torch.tensor([0] * (len(boxes) - 1) + [-1]), torch.tensor([0, len(boxes)])
    assert_matches_reference(backend, inputs, (8, 8), 16)
    valid = ldie_ext.center_targets(*on(backend, inputs), (8, 8), 16).valid
    assert valid.nonzero().tolist() == [[0, len(nothing)]]  # a box without a target keeps its slot


def test_names_and_decode(backend: Backend) -> None:
    """The targets say where the box is: cell + offset -+ wh / 2."""
    boxes = torch.tensor([[1.25, 0.5, 4.0, 3.0], [10, 2, 30, 17]], dtype=torch.float64)
    targets = ldie_ext.center_targets(*on(backend, (boxes, torch.tensor([0, 1]), torch.tensor([0, 2]))), SIZE, 2)
    cell = torch.stack([targets.index % SIZE[1], targets.index // SIZE[1]], dim=-1)
    center = cell + targets.offset
    decoded = torch.cat([center - targets.wh / 2, center + targets.wh / 2], dim=-1)
    assert_same(decoded[0].cpu(), boxes)
    assert targets.valid.all()


def test_non_contiguous(backend: Backend) -> None:
    boxes, labels, offsets = on(backend, sample(12, batch=2))
    expected = ldie_ext.center_targets(boxes, labels, offsets, SIZE, 8)
    strided = boxes.t().contiguous().t(), labels.repeat_interleave(2)[::2], offsets.repeat_interleave(3)[::3]
    assert not strided[0].is_contiguous()
    assert_same(tuple(ldie_ext.center_targets(*strided, SIZE, 8)), tuple(expected))


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, labels, offsets = on(backend, sample(4, batch=2))
    call = ldie_ext.center_targets
    with pytest.raises(RuntimeError, match=r"center_targets: boxes must have shape \[N, 4\], got \[4, 3\]"):
        call(boxes[:, :3], labels, offsets, SIZE, 4)
    with pytest.raises(RuntimeError, match="boxes must be float32"):
        call(boxes.long(), labels, offsets, SIZE, 4)
    with pytest.raises(RuntimeError, match="labels must be int64"):
        call(boxes, labels.int(), offsets, SIZE, 4)
    with pytest.raises(RuntimeError, match="max_objects must be at least 1, got 0"):
        call(boxes, labels, offsets, SIZE, 0)
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(boxes, labels, offsets, (4, -1), 4)
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to the number of boxes, 4"):
            call(boxes, labels, torch.tensor([0, 3, 2]), SIZE, 4)


def test_refuses_a_gradient(backend: Backend) -> None:
    boxes, labels, offsets = on(backend, sample(4, batch=2))
    targets = ldie_ext.center_targets(boxes.requires_grad_(), labels, offsets, SIZE, 4)
    with pytest.raises(RuntimeError, match="center_targets is not differentiable"):
        targets.wh.sum().backward()


def test_dispatcher_contract(backend: Backend) -> None:
    torch.library.opcheck(backend.op("center_targets"), (*on(backend, sample(6, batch=2)), *SIZE, 4))


def test_compiles(backend: Backend) -> None:
    inputs = on(backend, sample(6, batch=2))
    assert_compiles(lambda *tensors: tuple(ldie_ext.center_targets(*tensors, SIZE, 4)), *inputs)


def test_threads_agree() -> None:
    boxes, labels, offsets = sample(4000, batch=8)
    assert_threads_agree(lambda: tuple(ldie_ext.center_targets(boxes, labels, offsets, SIZE, 4096)))
