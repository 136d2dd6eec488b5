"""polygons_to_roi_masks against detectron2's convention, drawn by pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends import Backend
from masks.polygon_inputs import Parts, coco_masks, random_instances
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes

import ldie_ext

EXTENT = 40


def reference(instances: list[Parts], boxes: torch.Tensor, size: int) -> np.ndarray:
    """Polygons moved and scaled in float64 by NumPy's scalars of the boxes' type, then drawn by pycocotools."""
    masks = []
    for parts, box in zip(instances, boxes.numpy()):
        ratio_x = size / max(box[2] - box[0], 0.1)
        ratio_y = size / max(box[3] - box[1], 0.1)
        moved = []
        for part in parts:
            points = np.array(part, dtype=np.float64)
            points[0::2] = (points[0::2] - box[0]) * ratio_x
            points[1::2] = (points[1::2] - box[1]) * ratio_y
            moved.append(points.tolist())
        masks.append(coco_masks([moved], size, size)[0])
    return np.stack(masks)


def draw(instances: list[Parts], boxes: torch.Tensor, size: int, backend: Backend) -> np.ndarray:
    polygons = ldie_ext.Polygons.from_coco(instances).to(backend.device)
    return ldie_ext.polygons_to_roi_masks(polygons, boxes.to(backend.device), size).cpu().numpy()


@pytest.mark.sanitize
@pytest.mark.parametrize("size", [1, 14, 28, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_pixels_as_detectron2(backend: Backend, size: int, dtype: torch.dtype) -> None:
    instances = random_instances(10, EXTENT, seed=size)
    boxes = random_boxes(10, EXTENT, EXTENT, dtype=dtype)
    np.testing.assert_array_equal(draw(instances, boxes, size, backend), reference(instances, boxes, size))


def test_many_random_crops() -> None:
    for seed in range(10):
        instances = random_instances(100, EXTENT, seed)
        boxes = random_boxes(100, EXTENT, EXTENT)
        polygons = ldie_ext.Polygons.from_coco(instances)
        masks = ldie_ext.polygons_to_roi_masks(polygons, boxes, 28).numpy()
        np.testing.assert_array_equal(masks, reference(instances, boxes, 28))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_computed_in_float(backend: Backend, dtype: torch.dtype) -> None:
    instances, boxes = random_instances(6, EXTENT), random_boxes(6, EXTENT, EXTENT, dtype=dtype)
    np.testing.assert_array_equal(draw(instances, boxes, 28, backend), reference(instances, boxes.float(), 28))


def test_small_and_degenerate_boxes(backend: Backend) -> None:
    nan, inf = float("nan"), float("inf")
    boxes = torch.tensor([[3, 3, 3.05, 9], [5, 5, 5, 5], [9, 9, 2, 2], [1, 1, 1.1, 1.1], [-50, -50, -40, -40]])
    instances = random_instances(5, 12)
    np.testing.assert_array_equal(draw(instances, boxes, 28, backend), reference(instances, boxes, 28))
    wild = torch.tensor([[nan, 0, 4, 4], [0, 0, inf, 4], [-inf, -inf, inf, inf]])
    assert draw(instances[:3], wild, 28, backend).shape == (3, 28, 28)


def test_instances_choose_polygons(backend: Backend) -> None:
    instances, index = random_instances(4, EXTENT), [2, 0, 2, -1, 3, 4]
    boxes = random_boxes(6, EXTENT, EXTENT)
    polygons = ldie_ext.Polygons.from_coco(instances).to(backend.device)
    chosen = torch.tensor(index, device=backend.device)
    masks = ldie_ext.polygons_to_roi_masks(polygons, boxes.to(backend.device), 28, instances=chosen).cpu().numpy()
    expected = reference([instances[i] if 0 <= i < 4 else [] for i in index], boxes, 28)
    np.testing.assert_array_equal(masks, expected)
    assert not masks[[3, 5]].any()


def test_empty(backend: Backend) -> None:
    assert draw([], torch.zeros(0, 4), 28, backend).shape == (0, 28, 28)
    assert not draw([[], []], torch.tensor([[0.0, 0, 9, 9]] * 2), 28, backend).any()


def test_non_contiguous(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(5, EXTENT)).to(backend.device)
    boxes = random_boxes(5, EXTENT, EXTENT).to(backend.device)
    strided = boxes.t().contiguous().t()
    index = torch.arange(5, device=backend.device).repeat_interleave(2)[::2]
    expected = ldie_ext.polygons_to_roi_masks(polygons, boxes, 14)
    assert_same(ldie_ext.polygons_to_roi_masks(polygons, strided, 14, instances=index), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    boxes = torch.zeros(3, 4, device=backend.device)
    call = ldie_ext.polygons_to_roi_masks
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], one box per instance, got \[3, 4\]"):
        call(polygons, boxes, 28)
    with pytest.raises(RuntimeError, match="boxes must be float32"):
        call(polygons, boxes[:2].long(), 28)
    with pytest.raises(RuntimeError, match="mask_size must be at least 1"):
        call(polygons, boxes[:2], 0)
    with pytest.raises(RuntimeError, match=r"instances must have shape \[N\]"):
        call(polygons, boxes, 28, instances=torch.zeros(2, dtype=torch.int64, device=backend.device))
    with pytest.raises(RuntimeError, match="instances must be int64"):
        call(polygons, boxes, 28, instances=torch.zeros(3, device=backend.device))


def test_dispatcher_contract(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    boxes = random_boxes(2, 9, 9).to(backend.device)
    torch.library.opcheck(backend.op("polygons_to_roi_masks"), (*tensors, boxes, None, 14))


def test_compiles(backend: Backend) -> None:
    polygons = ldie_ext.Polygons.from_coco(random_instances(2, 9)).to(backend.device)
    boxes = random_boxes(2, 9, 9).to(backend.device)

    def function(coords: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        inputs = ldie_ext.Polygons(coords, polygons.part_offsets, polygons.instance_offsets)
        return ldie_ext.polygons_to_roi_masks(inputs, boxes, 14)

    assert_compiles(function, polygons.coords, boxes)


def test_threads_agree() -> None:
    polygons, boxes = ldie_ext.Polygons.from_coco(random_instances(60, EXTENT)), random_boxes(60, EXTENT, EXTENT)
    assert_threads_agree(lambda: ldie_ext.polygons_to_roi_masks(polygons, boxes, 28))
