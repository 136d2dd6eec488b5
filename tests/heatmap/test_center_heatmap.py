"""center_heatmap against the plain reference and against the published NumPy procedure, on every backend."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference.heatmap as reference
import torch
from backends import Backend
from op_checks import PEAK, assert_compiles, assert_same, random_boxes, random_offsets

import ldie_ext

CLASSES, SIZE = 4, (19, 37)
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
RADII = ["cornernet", "exact"]
STATUS = Path("/proc/self/status")
HALF_ULP = {torch.float32: 1e-6, torch.float64: 1e-13, torch.float16: 2.5e-4, torch.bfloat16: 2e-3}  # of values <= 1

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def sample(count: int, batch: int, size: tuple[int, int] = SIZE, dtype: torch.dtype = torch.float32) -> Batch:
    return random_boxes(count, *size, dtype=dtype), torch.randint(0, CLASSES, (count,)), random_offsets(batch, count)


def on(backend: Backend, inputs: Batch) -> list[torch.Tensor]:
    return [tensor.to(backend.device) for tensor in inputs]


@pytest.mark.sanitize
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("min_overlap", [0.3, 0.7, 1.0])
def test_matches_reference(backend: Backend, radius: str, min_overlap: float) -> None:
    for count in (0, 1, 9, 200):
        inputs = sample(count, batch=3)
        options = {"min_overlap": min_overlap, "radius": radius}
        heatmap = ldie_ext.center_heatmap(*on(backend, inputs), CLASSES, SIZE, **options)
        expected = reference.center_heatmap(*inputs, CLASSES, SIZE, **options)
        torch.testing.assert_close(heatmap.cpu(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("boxes_dtype", FLOATS)
def test_dtypes(backend: Backend, dtype: torch.dtype, boxes_dtype: torch.dtype) -> None:
    inputs = sample(20, batch=2, dtype=boxes_dtype)
    heatmap = ldie_ext.center_heatmap(*on(backend, inputs), CLASSES, SIZE, dtype=dtype).cpu()
    expected = reference.center_heatmap(*inputs, CLASSES, SIZE, dtype=torch.float64)
    assert heatmap.dtype == dtype
    torch.testing.assert_close(heatmap.double(), expected, rtol=0, atol=HALF_ULP[dtype])


@pytest.mark.parametrize("size", [(16, 32), (1, 1), (3, 8), (0, 4), (4, 0), (5, 300), (40, 7)])
def test_sizes(backend: Backend, size: tuple[int, int]) -> None:
    inputs = sample(12, batch=2, size=(max(size[0], 4), max(size[1], 4)))
    heatmap = ldie_ext.center_heatmap(*on(backend, inputs), CLASSES, size).cpu()
    torch.testing.assert_close(heatmap, reference.center_heatmap(*inputs, CLASSES, size), rtol=0, atol=1e-6)


def test_crowded_class(backend: Backend) -> None:
    """More boxes on one map than a block of the kernel lists at a time, in any order of size."""
    boxes = random_boxes(400, 16, 24) * 0.5 + 4
    inputs = boxes, torch.zeros(400, dtype=torch.int64), torch.tensor([0, 400])
    for dtype in (torch.float32, torch.float16):
        heatmap = ldie_ext.center_heatmap(*on(backend, inputs), 1, (17, 25), dtype=dtype).cpu()
        expected = reference.center_heatmap(*inputs, 1, (17, 25))
        torch.testing.assert_close(heatmap.float(), expected, rtol=0, atol=HALF_ULP[dtype])


def numpy_centernet(boxes: np.ndarray, labels: np.ndarray, classes: int, size: tuple[int, int]) -> np.ndarray:
    """One image rendered step by step as CenterNet's loader does: float32 boxes, float64 kernel, maximum in float32."""
    heatmap = np.zeros((classes, *size), dtype=np.float32)
    for box, label in zip(boxes, labels, strict=True):
        height, width = box[3] - box[1], box[2] - box[0]
        radius = max(0, int(reference.gaussian_radius(math.ceil(height), math.ceil(width), 0.7, "cornernet")))
        x, y = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], dtype=np.float32).astype(np.int32)
        axis = np.arange(-radius, radius + 1, dtype=np.float64)
        sigma = (2 * radius + 1) / 6
        kernel = np.exp(-(axis[None, :] ** 2 + axis[:, None] ** 2) / (2 * sigma * sigma))
        kernel[kernel < np.finfo(kernel.dtype).eps * kernel.max()] = 0
        left, right = min(x, radius), min(size[1] - x, radius + 1)
        top, bottom = min(y, radius), min(size[0] - y, radius + 1)
        window = heatmap[label, y - top : y + bottom, x - left : x + right]
        np.maximum(window, kernel[radius - top : radius + bottom, radius - left : radius + right], out=window)
    return heatmap


def test_equals_numpy_rendering_to_1e_6(backend: Backend) -> None:
    size = (64, 48)
    corner = torch.rand(60, 2) * torch.tensor([40.0, 56.0])
    boxes = torch.cat([corner, corner + 0.3 + torch.rand(60, 2) ** 2 * 40], dim=1)
    boxes = torch.minimum(boxes, torch.tensor([47.0, 63.0, 47.0, 63.0]))  # clipped as the loader does
    boxes[:20] = boxes[:20].round()  # integer sides, where truncation and rounding up matter most
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    labels, offsets = torch.randint(0, CLASSES, (len(boxes),)), torch.tensor([0, len(boxes)])
    heatmap = ldie_ext.center_heatmap(*on(backend, (boxes, labels, offsets)), CLASSES, size)[0]
    expected = numpy_centernet(boxes.numpy(), labels.numpy(), CLASSES, size)
    np.testing.assert_allclose(heatmap.cpu().numpy(), expected, rtol=0, atol=1e-6)


def test_radius_of_every_integer_size() -> None:
    """A window one cell too wide or too narrow would be far from the reference: 4,900 sizes, one per image."""
    sides = torch.arange(1, 71, dtype=torch.float32)
    wh = torch.cartesian_prod(sides, sides)
    boxes = torch.cat([32 - wh / 2, 32 + wh / 2], dim=1)
    offsets = torch.arange(len(boxes) + 1)
    heatmap = ldie_ext.center_heatmap(boxes, torch.zeros(len(boxes), dtype=torch.int64), offsets, 1, (64, 64))
    reached = (heatmap[:, 0, 32] > 0).sum(1)  # the row of the centre
    for (width, height), cells in zip(wh.tolist(), reached.tolist(), strict=True):
        radius = int(reference.gaussian_radius(height, width, 0.7, "cornernet"))
        assert cells == min(32, radius) + min(31, radius) + 1


def test_degenerate_boxes(backend: Backend) -> None:
    nan, inf, huge = float("nan"), float("inf"), 3e38
    nothing = [[3, 3, 1, 1], [2, 2, 2, 5], [2, 2, 5, 2], [nan, 0, 4, 4], [0, 0, 4, nan], [-9, -9, -1, -1],
               [50, 50, 60, 60], [-inf, -inf, inf, inf], [0, 0, inf, 4], [-huge, 0, huge, 4], [4, 4, 12, 12],
              ]  # fmt: skip
    boxes = torch.tensor(nothing + [[-1e30, -1e30, 1e30, 1e30], [1.5, 1.5, 2, 2]] + [[0, 0, 9, 9]] * 2)
    labels = torch.tensor([0] * len(nothing) + [1, 2] + [-1, 3])  # the last two are no classes
    inputs = boxes, labels, torch.tensor([0, len(boxes)])
    heatmap = ldie_ext.center_heatmap(*on(backend, inputs), 3, (8, 8)).cpu()
    torch.testing.assert_close(heatmap, reference.center_heatmap(*inputs, 3, (8, 8)), rtol=0, atol=1e-6)
    assert not heatmap[0, 0].any()
    assert heatmap[0, 1].eq(1).all()  # wider than any map: flat
    assert heatmap[0, 2].nonzero().tolist() == [[1, 1]]


def test_huge_float64_boxes(backend: Backend) -> None:
    boxes = torch.tensor([[-1e200, -1e200, 1e200, 1e200], [-1e300, 1, 1e300, 2]], dtype=torch.float64)
    inputs = boxes, torch.tensor([0, 1]), torch.tensor([0, 2])
    heatmap = ldie_ext.center_heatmap(*on(backend, inputs), 2, (8, 8)).cpu()
    torch.testing.assert_close(heatmap, reference.center_heatmap(*inputs, 2, (8, 8)), rtol=0, atol=1e-6)
    assert heatmap[0, 0].eq(1).all()


def test_non_contiguous(backend: Backend) -> None:
    boxes, labels, offsets = on(backend, sample(12, batch=2))
    expected = ldie_ext.center_heatmap(boxes, labels, offsets, CLASSES, SIZE)
    strided = boxes.t().contiguous().t(), labels.repeat_interleave(2)[::2], offsets.repeat_interleave(3)[::3]
    assert not strided[0].is_contiguous()
    assert_same(ldie_ext.center_heatmap(*strided, CLASSES, SIZE), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    boxes, labels, offsets = on(backend, sample(4, batch=2))
    call = ldie_ext.center_heatmap
    with pytest.raises(RuntimeError, match=r"center_heatmap: boxes must have shape \[N, 4\], got \[4, 3\]"):
        call(boxes[:, :3], labels, offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match="labels must be int64"):
        call(boxes, labels.int(), offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match="num_classes must be at least 1"):
        call(boxes, labels, offsets, 0, SIZE)
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(boxes, labels, offsets, CLASSES, (-1, 4))
    for wrong in (0.0, -0.5, 1.5, math.nan):
        with pytest.raises(RuntimeError, match="min_overlap must be above 0 and at most 1"):
            call(boxes, labels, offsets, CLASSES, SIZE, min_overlap=wrong)
    with pytest.raises(RuntimeError, match="dtype must be float32, float64, float16 or bfloat16"):
        call(boxes, labels, offsets, CLASSES, SIZE, dtype=torch.int64)
    with pytest.raises(ValueError, match="radius must be one of"):
        call(boxes, labels, offsets, CLASSES, SIZE, radius="mmdet")
    if backend.device.type == "cpu":
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to the number of boxes, 4"):
            call(boxes, labels, torch.tensor([0, 3, 2]), CLASSES, SIZE)


def test_refuses_a_gradient(backend: Backend) -> None:
    boxes, labels, offsets = on(backend, sample(4, batch=2))
    heatmap = ldie_ext.center_heatmap(boxes.requires_grad_(), labels, offsets, CLASSES, SIZE)
    with pytest.raises(RuntimeError, match="center_heatmap is not differentiable"):
        heatmap.sum().backward()


def test_dispatcher_contract(backend: Backend) -> None:
    inputs = on(backend, sample(6, batch=2))
    for dtype in (torch.float32, torch.bfloat16):
        torch.library.opcheck(backend.op("center_heatmap"), (*inputs, CLASSES, *SIZE, 0.7, 0, dtype))


def test_compiles(backend: Backend) -> None:
    inputs = on(backend, sample(6, batch=2))
    assert_compiles(lambda *tensors: ldie_ext.center_heatmap(*tensors, CLASSES, SIZE), *inputs)


MEMORY = f"""
import sys, torch, ldie_ext
{PEAK}
boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0], [90.0, 70.0, 200.0, 180.0]])
labels, offsets = torch.tensor([3, 60]), torch.tensor([0, 1, 2])
ldie_ext.center_heatmap(boxes, labels, offsets, 80, (64, 64))
before = peak()
heatmap = ldie_ext.center_heatmap(boxes, labels, offsets, 80, (512, 512))
print(1024 * (peak() - before), heatmap.nbytes)
assert heatmap.data_ptr() % 64 == 0
heatmap.mul_(2)  # an ordinary tensor all the same
torch.testing.assert_close(heatmap.amax(), torch.tensor(2.0))
"""


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_empty_parts_take_no_memory() -> None:
    """In a process of its own: where much was freed before, the system's memory may not be untouched."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], env={"PYTHONPATH": ":".join(sys.path)}, timeout=120, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    grown, size = map(int, done.stdout.split())
    assert size == 2 * 80 * 512 * 512 * 4
    assert grown < size / 10
