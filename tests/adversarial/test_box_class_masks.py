"""box_class_masks against the plain reference, on every backend."""

from __future__ import annotations

import pytest
import reference.adversarial as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes, random_offsets

import ldie_ext

CLASSES, SIZE = 5, (19, 37)
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def unpack(packed: torch.Tensor, width: int) -> torch.Tensor:
    bits = packed[..., None] >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1
    return bits.flatten(-2)[..., :width].bool()


def sample(
    count: int, batch: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return random_boxes(count, *SIZE, dtype=dtype), torch.randint(0, CLASSES, (count,)), random_offsets(batch, count)


@pytest.mark.sanitize
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("rounding", ["trunc", "outward"])
def test_matches_reference(backend: Backend, rounding: str, class_agnostic: bool, packed: bool) -> None:
    for count in (0, 1, 9, 300):
        boxes, labels, offsets = sample(count, batch=3)
        expected = reference.box_class_masks(
            boxes, labels, offsets, CLASSES, SIZE, class_agnostic=class_agnostic, rounding=rounding
        )
        inputs = [tensor.to(backend.device) for tensor in (boxes, labels, offsets)]
        masks = ldie_ext.box_class_masks(
            *inputs, CLASSES, SIZE, class_agnostic=class_agnostic, rounding=rounding, packed=packed
        )
        assert_same((unpack(masks, SIZE[1]) if packed else masks).cpu(), expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [(16, 32), (1, 1), (3, 8), (0, 4), (4, 0), (40, 100)])
def test_dtypes_and_sizes(backend: Backend, dtype: torch.dtype, size: tuple[int, int]) -> None:
    boxes, labels, offsets = random_boxes(7, 40, 100, dtype=dtype), torch.arange(7) % 3, torch.tensor([0, 4, 7])
    expected = reference.box_class_masks(boxes, labels, offsets, 3, size)
    inputs = [tensor.to(backend.device) for tensor in (boxes, labels, offsets)]
    assert_same(ldie_ext.box_class_masks(*inputs, 3, size).cpu(), expected)


def test_degenerate_boxes(backend: Backend) -> None:
    nan, inf, huge = float("nan"), float("inf"), 3e38
    nothing = [[3, 3, 1, 1], [2.9, 2.1, 2.2, 5], [nan, 0, 4, 4], [0, 0, 4, nan], [-9, -9, -1, -1], [50, 50, 60, 60],
               [2.2, 2.2, 2.9, 2.9]]  # fmt: skip
    everything = [[-huge, -huge, huge, huge], [-inf, -inf, inf, inf]]
    boxes = torch.tensor(nothing + everything + [[0, 0, 9, 9]] * 2)
    labels = torch.tensor([0] * len(nothing) + [1, 2] + [-1, 3])  # the last two are no classes
    offsets = torch.tensor([0, len(boxes)])
    masks = ldie_ext.box_class_masks(*(t.to(backend.device) for t in (boxes, labels, offsets)), 3, (8, 8)).cpu()
    assert_same(masks, reference.box_class_masks(boxes, labels, offsets, 3, (8, 8)))
    assert not masks[0, 0].any()
    assert masks[0, 1:].all()


def test_non_contiguous(backend: Backend) -> None:
    boxes, labels, offsets = (tensor.to(backend.device) for tensor in sample(12, batch=2))
    expected = ldie_ext.box_class_masks(boxes, labels, offsets, CLASSES, SIZE)
    strided = boxes.t().contiguous().t(), labels.repeat_interleave(2)[::2], offsets.repeat_interleave(3)[::3]
    assert not strided[0].is_contiguous()
    assert_same(ldie_ext.box_class_masks(*strided, CLASSES, SIZE), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, labels, offsets = (tensor.to(backend.device) for tensor in sample(4, batch=2))
    call = ldie_ext.box_class_masks
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], got \[4, 3\]"):
        call(boxes[:, :3], labels, offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match="boxes must be float32"):
        call(boxes.long(), labels, offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match="labels must be int64"):
        call(boxes, labels.int(), offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match=r"labels must have shape \[N\]"):
        call(boxes, labels[1:], offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match=r"offsets must have shape \[B \+ 1\]"):
        call(boxes, labels, offsets[:0], CLASSES, SIZE)
    with pytest.raises(RuntimeError, match="num_classes must be at least 1"):
        call(boxes, labels, offsets, 0, SIZE)
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(boxes, labels, offsets, CLASSES, (-1, 4))
    with pytest.raises(ValueError, match="rounding must be one of"):
        call(boxes, labels, offsets, CLASSES, SIZE, rounding="nearest")
    if backend.device.type == "cpu":
        for wrong in ([0, 3, 2], [1, 2, 4], [0, 2, 9], [0, 2, 3]):
            with pytest.raises(RuntimeError, match="offsets must rise from 0 to the number of boxes, 4"):
                call(boxes, labels, torch.tensor(wrong), CLASSES, SIZE)


def test_dispatcher_contract(backend: Backend) -> None:
    boxes, labels, offsets = (tensor.to(backend.device) for tensor in sample(6, batch=2))
    for packed in (False, True):
        torch.library.opcheck(backend.op("box_class_masks"), (boxes, labels, offsets, CLASSES, *SIZE, False, 0, packed))


def test_compiles(backend: Backend) -> None:
    inputs = [tensor.to(backend.device) for tensor in sample(6, batch=2)]
    assert_compiles(lambda *tensors: ldie_ext.box_class_masks(*tensors, CLASSES, SIZE), *inputs)


def test_large_masks_start_from_zero() -> None:
    """Above 32 MiB the CPU takes zeroed pages instead of clearing reused ones."""
    boxes, labels, offsets = sample(9, batch=2)
    for packed, size in ((False, (1100, 3200)), (True, (4400, 6400))):
        shape = (2, CLASSES, size[0], size[1] // 8 if packed else size[1])
        torch.full(shape, 255, dtype=torch.uint8)  # memory that the allocator could hand out again
        masks = ldie_ext.box_class_masks(boxes, labels, offsets, CLASSES, size, packed=packed)
        assert masks.nbytes >= 32 << 20
        expected = reference.box_class_masks(boxes, labels, offsets, CLASSES, (64, 64))
        corner = masks[..., :64, :8] if packed else masks[..., :64, :64]
        assert_same(unpack(corner.contiguous(), 64) if packed else corner, expected)
        assert masks.count_nonzero() == corner.count_nonzero()


def test_threads_agree() -> None:
    boxes, labels, offsets = sample(60, batch=8)
    assert_threads_agree(lambda: ldie_ext.box_class_masks(boxes, labels, offsets, 80, (128, 128)))
