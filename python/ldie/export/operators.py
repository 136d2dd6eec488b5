# SPDX-License-Identifier: Apache-2.0
"""Operators in ONNX's words: those of ldie_ext that graphs hold, and one of torch that its exporter does not know.

They give the same rows in the same order: among equal values TopK takes the first, as a stable sort does, and so does
NonMaxSuppression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnxscript import opset20

import ldie_ext.ops  # noqa: F401 (registers them)

OPSET = 20
"""DeformConv is there from 19 on."""
op: Any = opset20
_ALL = 2**31 - 1
_FLOAT = 1
"""ONNX's number of float32."""


def _heatmap_peaks(scores: Any, k: int, per_class: bool) -> tuple[Any, Any, Any, Any]:
    if per_class:
        raise NotImplementedError("heatmap_peaks by class has no ONNX operators")
    batch, classes, height, width = scores.shape
    cells = classes * height * width
    none = op.Constant(value_float=-math.inf)
    highest = op.MaxPool(scores, kernel_shape=[3, 3], pads=[1, 1, 1, 1])[0]
    peaks = op.Reshape(op.Where(op.Equal(scores, highest), scores, none), _numbers(batch, cells))
    if cells < k:
        peaks = op.Pad(peaks, _numbers(0, 0, 0, k - cells), none)
    values, places = op.TopK(peaks, _numbers(k))
    cell = op.Mod(places, _number(height * width))
    indices = (
        op.Div(places, _number(height * width)),
        op.Div(cell, _number(width)),
        op.Mod(cell, _number(width)),
    )
    labels, y, x = (op.Where(op.Equal(values, none), _number(-1), index) for index in indices)
    return values, labels, y, x


def _points_nms(values: Any, scores: Any, wide: bool) -> Any:
    side = 3 if wide else 2
    highest = op.MaxPool(scores, kernel_shape=[side, side], pads=[1, 1, side - 2, side - 2])[0]
    kept = op.And(op.Equal(scores, highest), op.Greater(scores, op.Constant(value_float=-math.inf)))
    return op.Where(kept, values, op.Constant(value_float=0.0))


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    found = op.NonMaxSuppression(
        op.Unsqueeze(_upright(boxes), _numbers(0)),
        op.Unsqueeze(scores, _numbers(0, 1)),
        _numbers(_ALL),
        op.Constant(value_floats=[_threshold(iou_threshold)]),
    )
    return op.Squeeze(op.Slice(found, _numbers(2), _numbers(3), _numbers(1)), _numbers(1))


def _upright(boxes: Any) -> Any:
    """Boxes that end before they begin as empty ones, which suppress nothing; ONNX would exchange their corners."""
    begin = op.Slice(boxes, _numbers(0), _numbers(2), _numbers(1))
    end = op.Slice(boxes, _numbers(2), _numbers(4), _numbers(1))
    return op.Concat(begin, op.Max(begin, end), axis=1)


def _threshold(value: float) -> float:
    """The float32 that float32 IoUs are greater than where they are greater than a float64."""
    if value < 0:
        raise NotImplementedError(f"nms with a threshold below 0 has no ONNX operator, got {value}")
    if not value <= 1:
        return 1.0
    nearest = np.float32(value)
    return float(nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(0)))


def _composite_masks(
    maps: Any, index: Any, scores: Any, height: int, width: int, threshold: float, *options: Any
) -> Any:
    between, crop, align_corners, exclusive, packed = options
    if exclusive or packed:
        raise NotImplementedError("composite_masks gives packed masks or has pixels of one mask alone")
    if index is not None:
        maps = op.Gather(maps, index)
    if between:
        maps = _resized(maps, between, align_corners)
    if crop:
        maps = op.Slice(maps, _numbers(0, 0), _numbers(*crop), _numbers(1, 2))
    resized = _resized(maps, (height, width), align_corners)
    return op.Greater(resized, op.Constant(value_float=threshold))


def _resized(maps: Any, size: Sequence[int], align_corners: bool) -> Any:
    """Maps [N,h,w] in another size, bilinearly; as [N,1,h,w], for with three axes maps would mix with one another."""
    resized = op.Resize(
        op.Unsqueeze(maps, _numbers(1)),
        None,
        None,
        _numbers(*size),
        axes=[2, 3],
        mode="linear",
        coordinate_transformation_mode="align_corners" if align_corners else "half_pixel",
    )
    return op.Squeeze(resized, _numbers(1))


def _masks_to_boxes(masks: Any, width: int, packed: bool, beyond: bool) -> Any:
    if packed:
        raise NotImplementedError("masks_to_boxes of packed masks has no ONNX operators")
    cells = op.Cast(masks, to=_FLOAT)
    ends = []
    for axis in (1, 2):  # what is left of these is the other one
        line = op.ReduceMax(cells, _numbers(axis), keepdims=0)
        last = op.ArgMax(line, axis=1, select_last_index=1)
        ends.append((op.ArgMax(line, axis=1), op.Add(last, _number(int(beyond)))))
    (left, right), (top, bottom) = ends
    boxes = op.Cast(op.Concat(left, top, right, bottom, axis=1), to=_FLOAT)
    return op.Mul(boxes, op.Flatten(op.ReduceMax(cells, _numbers(1, 2)), axis=1))  # 0 of what has no pixel


def _matrix_nms(masks: Any, width: int, packed: bool, labels: Any, scores: Any, gaussian: bool, sigma: float) -> Any:
    """All pairs as a matrix, whose rows suppress its columns; counts of cells are whole numbers in float32."""
    if packed:
        raise NotImplementedError("matrix_nms of packed masks has no ONNX operators")
    one, nothing = op.Constant(value_float=1.0), op.Constant(value_float=0.0)
    cells = op.Flatten(op.Cast(masks, to=_FLOAT), axis=1)
    shared = op.MatMul(cells, op.Transpose(cells, perm=[1, 0]))
    areas = op.ReduceSum(cells, _numbers(1), keepdims=1)
    union = op.Sub(op.Add(areas, op.Transpose(areas, perm=[1, 0])), shared)
    above = op.And(_before(scores), op.Equal(_rows(labels), _columns(labels)))
    ious = op.Where(above, op.Div(shared, op.Max(union, one)), nothing)
    none = op.Sub(_columns(scores), _columns(scores))  # a row of zeros more, as there may be no mask at all
    worst = _rows(op.ReduceMax(op.Concat(ious, none, axis=0), _numbers(0), keepdims=0))  # what each row suffers itself
    if gaussian:
        squares = op.Sub(op.Mul(worst, worst), op.Mul(ious, ious))
        decays = op.Exp(op.Mul(squares, op.Constant(value_float=sigma)))
    else:
        copies = op.Equal(worst, one)  # leave it to what they are copies of
        rest = op.Sub(one, op.Where(copies, nothing, worst))
        decays = op.Where(copies, one, op.Div(op.Sub(one, ious), rest))
    decays = op.Concat(op.Where(above, decays, one), op.Add(none, one), axis=0)
    return op.Mul(scores, op.ReduceMin(decays, _numbers(0), keepdims=0))


def _before(scores: Any) -> Any:
    """Bool [N,N]: whether the row comes before the column, by descending scores, equal ones in their order."""
    count = op.Squeeze(op.Shape(scores))
    places = op.Range(_number(0), count, _number(1))
    equal = op.And(op.Equal(_rows(scores), _columns(scores)), op.Less(_rows(places), _columns(places)))
    return op.Or(op.Greater(_rows(scores), _columns(scores)), equal)


def _rows(values: Any) -> Any:
    return op.Unsqueeze(values, _numbers(1))


def _columns(values: Any) -> Any:
    return op.Unsqueeze(values, _numbers(0))


def _deform_conv2d(image: Any, offset: Any, weight: Any, bias: Any, mask: Any, *options: int) -> Any:
    stride, padding, dilation = options[:2], options[2:4], options[4:]
    channels, (_, part, height, width) = image.shape[1], weight.shape
    return op.DeformConv(
        image,
        weight,
        offset,
        bias,
        mask,
        strides=stride,
        pads=(*padding, *padding),
        dilations=dilation,
        kernel_shape=(height, width),
        group=channels // part,
        offset_group=offset.shape[1] // (2 * height * width),
    )


def _stable_sort(values: Any, stable: bool, dim: int = -1, descending: bool = False) -> Any:
    return op.TopK(values, op.Gather(op.Shape(values), _numbers(dim)), axis=dim, largest=int(descending))


def _number(value: int) -> Any:
    return op.Constant(value_int=value)


def _numbers(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


def translations() -> dict[Callable, Callable]:
    """For ``torch.onnx.export``: what becomes of each operator."""
    ops = torch.ops.ldie_ext
    return {
        ops.heatmap_peaks.default: _heatmap_peaks,
        ops.points_nms.default: _points_nms,
        ops.nms.default: _nms,
        ops.composite_masks.default: _composite_masks,
        ops.masks_to_boxes.default: _masks_to_boxes,
        ops.matrix_nms.default: _matrix_nms,
        ops.deform_conv2d.default: _deform_conv2d,
        torch.ops.aten.sort.stable: _stable_sort,
    }
