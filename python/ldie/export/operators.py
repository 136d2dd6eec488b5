# SPDX-License-Identifier: Apache-2.0
"""Operators in ONNX's words: those of ldie_ext that graphs hold, and one of torch that its exporter does not know.

They give the same rows in the same order: among equal values TopK takes the first, as a stable sort does, and so does
NonMaxSuppression.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnxscript import opset20

import ldie_ext.ops  # noqa: F401 (registers them)

OPSET = 20
"""DeformConv is there from 19 on."""
op: Any = opset20
_ALL = 2**31 - 1


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
        ops.deform_conv2d.default: _deform_conv2d,
        torch.ops.aten.sort.stable: _stable_sort,
    }
