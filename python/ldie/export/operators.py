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
from onnx import numpy_helper
from onnxscript import opset20

import ldie_ext.ops  # noqa: F401 (registers them)

OPSET = 20
"""DeformConv is there from 19 on."""
op: Any = opset20
_ALL = 2**31 - 1
_FLOAT, _INT64, _DOUBLE = 1, 7, 11
"""ONNX's numbers of float32, int64 and float64."""


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
    if packed or (exclusive and scores is not None):
        raise NotImplementedError(
            "composite_masks gives packed masks, or has pixels of the mask of the best score alone"
        )
    if index is not None:
        maps = op.Gather(maps, index)
    if between:
        maps = _resized(maps, between, align_corners)
    if crop:
        maps = op.Slice(maps, _numbers(0, 0), _numbers(*crop), _numbers(1, 2))
    masks = op.Greater(_resized(maps, (height, width), align_corners), op.Constant(value_float=threshold))
    if not exclusive:
        return masks
    count = op.CumSum(op.Cast(masks, to=_FLOAT), _number(0))
    return op.And(masks, op.Equal(count, op.Constant(value_float=1.0)))


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


def _gaussian_maps(
    centers: Any, radii: Any, radius: float, step: float, height: int, width: int, kind: int, dtype: int
) -> Any:
    """In float64, as a product of a factor for each row and one for each column."""
    onehot, exponent = kind == 3, (math.log(2), 4 * math.log(2), 0.5, 0.0)[kind]
    side_of_cell = op.Constant(value=_array(step))
    given = op.Constant(value=_array(radius)) if radii is None else op.Cast(radii, to=_DOUBLE)
    nothing = op.Constant(value=_array(0.0))
    radii = op.Unsqueeze(op.Div(given, side_of_cell), _numbers(-1))
    factors = []
    for axis, side in ((1, height), (0, width)):
        center = op.Div(op.Gather(op.Cast(centers, to=_DOUBLE), _numbers(axis), axis=-1), side_of_cell)
        if onehot:
            inside = op.Equal(op.Constant(value=_array(np.arange(side))), op.Floor(center))
            factors.append(op.Cast(inside, to=_DOUBLE))
            continue
        apart = op.Sub(op.Constant(value=_array(np.arange(side) + 0.5)), center)
        scaled = op.Where(op.Equal(apart, nothing), nothing, op.Div(apart, radii))  # with radius 0, too
        factor = op.Exp(op.Mul(op.Mul(scaled, scaled), op.Constant(value=_array(-exponent))))
        used = op.And(op.GreaterOrEqual(radii, nothing), op.Less(op.Abs(center), op.Constant(value=_array(math.inf))))
        factors.append(op.Where(used, factor, nothing))
    rows, columns = factors
    return op.Cast(op.Mul(op.Unsqueeze(rows, _numbers(-1)), op.Unsqueeze(columns, _numbers(-2))), to=dtype)


def _gated_conv(gates: Any, responses: Any) -> Any:
    """Products of every hypothesis with every tap, and a convolution that moves each to where it belongs."""
    (batch, count, height, width), (outputs, taps) = gates.shape, responses.shape[1:3]
    side = math.isqrt(taps)
    products = op.Mul(op.Unsqueeze(gates, _numbers(2, 3)), op.Unsqueeze(responses, _numbers(1)))
    moves = op.Constant(value=_array(np.eye(taps).reshape(1, taps, side, side), np.float32))
    flat = op.Reshape(products, _numbers(batch * count * outputs, taps, height, width))
    summed = op.Conv(flat, moves, pads=[side // 2] * 4)
    return op.Reshape(summed, _numbers(batch, count, outputs, height, width))


def _pyramid_coverage(
    logits: Any,
    alive: Any,
    places: Any,
    step: float,
    mode: int,
    top_k: int,
    background: float | None,
    floor: float,
    sizes: Any,
) -> tuple[Any, Any, Any]:
    batch, slots, height, width = logits.shape
    none, nothing, one = (op.Constant(value_float=value) for value in (-math.inf, 0.0, 1.0))
    largest = op.Constant(value_float=float(np.finfo(np.float32).max))
    responses = op.ConstantOfShape(_numbers(batch, 0)) if places is None else _responses(logits, alive, places, step)
    claims = op.And(op.Greater(logits, none), op.Unsqueeze(alive, _numbers(2, 3)))  # NaN is greater than nothing
    logits = op.Where(claims, op.Min(logits, largest), none)
    if mode:
        shares = op.Sigmoid(op.Sub(logits, op.Constant(value_float=background)) if background else logits)
    else:
        shares = _shares(logits, background)
    inside = _inside(sizes, height, width, step)
    coverage = op.Where(inside, op.ReduceMax(shares, _numbers(1), keepdims=0), one)
    values, rows = op.TopK(logits, _numbers(min(top_k, slots)), axis=1)
    best = op.And(op.Greater(values, none), op.Unsqueeze(inside, _numbers(1)))
    if floor > 0:
        chosen = op.GatherElements(shares, rows, axis=1)
        best = op.And(best, op.Greater(chosen, op.Constant(value_float=floor)))
    zeros = op.ConstantOfShape(_numbers(batch, slots, height, width))
    found = op.ScatterElements(zeros, rows, op.Cast(best, to=_FLOAT), axis=1)
    return coverage, op.Greater(op.ReduceMax(found, _numbers(2, 3), keepdims=0), nothing), responses


def _responses(logits: Any, alive: Any, places: Any, step: float) -> Any:
    """The logits in the cells of places; minus infinity where there is none."""
    batch, slots, height, width = logits.shape
    positions = op.Floor(op.Div(op.Cast(places, to=_DOUBLE), op.Constant(value=_array(step))))
    finite = op.Not(op.Or(op.IsNaN(positions), op.IsInf(positions)))
    last = op.Constant(value=_array([width - 1, height - 1]))
    first = op.Constant(value=_array([0, 0]))
    cells = op.Cast(op.Where(finite, op.Min(op.Max(positions, first), last), first), to=_INT64)
    strides = op.Constant(value=_array([1, width], np.int64))
    cells = op.ReduceSum(op.Mul(cells, strides), _numbers(2))
    values = op.GatherElements(op.Reshape(logits, _numbers(batch, slots, height * width)), cells, axis=2)
    both = op.Equal(op.ReduceMin(op.Cast(finite, to=_FLOAT), _numbers(2), keepdims=0), op.Constant(value_float=1.0))
    return op.Where(op.And(alive, both), op.Squeeze(values, _numbers(2)), op.Constant(value_float=-math.inf))


def _shares(logits: Any, background: float | None) -> Any:
    """Softmax over slots; of cells without any claim zeros."""
    highest = op.ReduceMax(logits, _numbers(1))
    lowest = op.Constant(value_float=float(np.finfo(np.float32).min) if background is None else background)
    highest = op.Max(highest, lowest)
    each = op.Exp(op.Sub(logits, highest))
    total = op.ReduceSum(each, _numbers(1))
    if background is None:
        return op.Div(each, op.Max(total, op.Constant(value_float=float(np.finfo(np.float32).tiny))))
    return op.Div(each, op.Add(total, op.Exp(op.Sub(lowest, highest))))


def _inside(sizes: Any, height: int, width: int, step: float) -> Any:
    """Bool [B or 1,h,w]: the part of each map that counts."""
    if sizes is None:
        return op.Constant(value=_array(np.ones((1, height, width)), np.bool_))
    rows, columns = (op.Constant(value=_array(np.arange(side) * step)) for side in (height, width))
    ends = [op.Gather(op.Cast(sizes, to=_DOUBLE), _numbers(axis), axis=1) for axis in (0, 1)]
    return op.And(
        op.Unsqueeze(op.Less(rows, ends[0]), _numbers(2)), op.Unsqueeze(op.Less(columns, ends[1]), _numbers(1))
    )


def _pyramid_spawn(
    coverage: Any,
    alive: Any,
    guide: Any,
    capacity: int,
    max_alive: int,
    threshold: float,
    min_spawn: int,
    step: float,
) -> tuple[Any, Any, Any]:
    batch, height, width = coverage.shape
    count, one = min(capacity, height * width), op.Constant(value_float=1.0)
    if guide is not None:
        likely = op.Sigmoid(op.ReduceMax(guide, _numbers(1), keepdims=0))
        likely = op.Where(_any_nan(guide), op.Constant(value_float=math.nan), likely)
        coverage = op.Sub(one, op.Mul(likely, op.Sub(one, coverage)))
    covered = op.Constant(value_float=math.inf)
    cells = op.Reshape(op.Where(op.IsNaN(coverage), covered, coverage), _numbers(batch, height * width))
    values, places = op.TopK(cells, _numbers(count), largest=0)
    ranks = op.Constant(value=_array(np.arange(count), np.int64))
    chosen = op.Less(values, op.Constant(value_float=threshold))
    chosen = op.Or(chosen, op.And(op.Less(ranks, _number(min_spawn)), op.Less(values, one)))
    room = _number(max_alive)
    if alive.shape[1]:
        room = op.Sub(room, op.ReduceSum(op.Cast(alive, to=_INT64), _numbers(1)))
    chosen = op.And(chosen, op.Less(ranks, room))
    rows, counts = _packed(op.Where(chosen, places, _number(-1)), capacity - count)
    position = op.Cast(op.Unsqueeze(rows, _numbers(2)), to=_DOUBLE)
    wide, half, side = (op.Constant(value=_array(value)) for value in (width, 0.5, step))
    y = op.Floor(op.Div(position, wide))
    middles = op.Mul(op.Add(op.Concat(op.Sub(position, op.Mul(y, wide)), y, axis=2), half), side)
    used = op.GreaterOrEqual(position, op.Constant(value=_array(0.0)))
    return rows, counts, op.Cast(op.Where(used, middles, op.Constant(value=_array(math.nan))), to=_FLOAT)


def _any_nan(values: Any) -> Any:
    """Bool, along the second axis."""
    unknown = op.ReduceMax(op.Cast(op.IsNaN(values), to=_FLOAT), _numbers(1), keepdims=0)
    return op.Greater(unknown, op.Constant(value_float=0.0))


def _pyramid_cull(present: Any, scores: Any, capacity: int) -> tuple[Any, Any]:
    slots = present.shape[1]
    count = min(capacity, slots)
    keys = op.Cast(scores, to=_DOUBLE)  # where there is room below all of float32, also for NaN and what is not present
    lowest, unknown, absent = (op.Constant(value=_array(value)) for value in (-1e300, -1.5e300, -math.inf))
    keys = op.Where(op.IsNaN(keys), unknown, op.Max(keys, lowest))
    _, best = op.TopK(op.Where(present, keys, absent), _numbers(count))
    rows = op.Where(op.GatherElements(present, best, axis=1), best, _number(slots))
    rising, _ = op.TopK(rows, _numbers(count), largest=0)
    return _packed(op.Where(op.Less(rising, _number(slots)), rising, _number(-1)), capacity - count)


def _packed(rows: Any, missing: int) -> tuple[Any, Any]:
    """Rows int64 [B,K] and so many unused ones more; how many are used."""
    counts = op.ReduceSum(op.Cast(op.GreaterOrEqual(rows, _number(0)), to=_INT64), _numbers(1), keepdims=0)
    return (op.Pad(rows, _numbers(0, 0, 0, missing), _number(-1)) if missing else rows), counts


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


def _array(values: Any, dtype: Any = np.float64) -> Any:
    """For a constant."""
    return numpy_helper.from_array(np.asarray(values, dtype))


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
        ops.gaussian_maps.default: _gaussian_maps,
        ops.gated_conv.default: _gated_conv,
        ops.pyramid_coverage.default: _pyramid_coverage,
        ops.pyramid_spawn.default: _pyramid_spawn,
        ops.pyramid_cull.default: _pyramid_cull,
        torch.ops.aten.sort.stable: _stable_sort,
    }
