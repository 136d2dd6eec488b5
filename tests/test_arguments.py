"""Wrong arguments of public functions: each gets an error of a documented kind that names the argument."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import public_calls
import pytest
import torch

import ldie_ext
from ldie_ext import Polygons

WRONG: dict[str, Any] = {
    "None": None,
    "an empty list": [],
    "a ragged list": [[1, 2], [3]],
    "a dict": {},
    "a string": "x",
    "an object": object(),
    "an array": np.zeros((3, 4), np.float32),
    "a number tensor": torch.tensor(1.0),
    "an empty tensor": torch.zeros(0),
    "a row": torch.zeros(8),
    "another device": torch.zeros(8, 4, device="meta"),
    "complex": torch.zeros(8, 4, dtype=torch.complex64),
    "int8": torch.zeros(8, 4, dtype=torch.int8),
    "sparse": torch.zeros(8, 4).to_sparse(),
    "infinity": float("inf"),
    "NaN": float("nan"),
    "below zero": -1,
    "a pair below zero": (-1, -1),
    "beyond int64": 2**70,
    "a million millions": 10**12,
}
#: Of arguments that are wrong only together, the message names another one; roi_align is a pyramid of one level.
TOGETHER = {
    ("deform_conv2d", "stride"): "offset must have shape",
    ("deform_conv2d", "padding"): "offset must have shape",
    ("deform_conv2d", "dilation"): "offset must have shape",
    ("decode_boxes", "proposals"): "deltas must be float",
    ("encode_boxes", "proposals"): "reference must be float",
    ("match_boxes", "candidates"): "gt must be float",
    ("roi_align", "input"): r"features\[0\] must",
    ("roi_align", "spatial_scale"): "spatial_scales must",
}


@pytest.fixture(scope="module")
def calls() -> dict[str, list[dict[str, Any]]]:
    return public_calls.recorded()


def names(message: str, function: str, argument: str) -> bool:
    allowed = [rf"\b{argument}\b", r"^\w+: not enough memory for a tensor of shape"]
    if argument == "packed_width":  # which makes the masks packed
        allowed.append("(masks|a|targets) must be uint8")
    if (function, argument) in TOGETHER:
        allowed.append(TOGETHER[function, argument])
    return any(re.search(pattern, message) for pattern in allowed)


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("function", sorted(public_calls.FUNCTIONS))
def test_errors_name_the_argument(function: str, calls: dict[str, list[dict[str, Any]]]) -> None:
    assert calls[function], "tests/op_cases.py has no call of it"
    for call in calls[function]:
        for argument in call:
            for what, value in WRONG.items():
                try:
                    public_calls.FUNCTIONS[function](**{**call, argument: value})
                except (RuntimeError, TypeError, ValueError) as error:
                    assert type(error) in (RuntimeError, TypeError, ValueError)
                    assert names(str(error), function, argument), f"{what} as {argument}: {error}"


def test_a_wrong_type_says_what_is_wanted_and_what_came() -> None:
    boxes = torch.rand(3, 4)
    with pytest.raises(TypeError, match=r"^box_iou: b must be Tensor, got list$"):
        ldie_ext.box_iou(boxes, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^roi_align: output_size must be .*, got 'x'$"):
        ldie_ext.roi_align(torch.rand(1, 3, 8, 8), torch.rand(2, 5), "x")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"^masks_to_boxes: .* called with masks \[\] float32 on cpu"):
        ldie_ext.masks_to_boxes(torch.tensor(1.0))


def test_infinite_scales_are_refused() -> None:
    features, rois = torch.rand(1, 3, 8, 8), torch.rand(2, 5)
    for scale in (float("inf"), float("nan"), 0.0, -1.0):
        with pytest.raises(RuntimeError, match="spatial_scales must be above 0 and finite"):
            ldie_ext.roi_align(features, rois, 3, scale)


def test_python_itself_names_missing_and_unknown_arguments() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        ldie_ext.box_iou(torch.rand(1, 4))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        ldie_ext.box_iou(torch.rand(1, 4), torch.rand(1, 4), c=1)  # type: ignore[call-arg]


def test_what_holds_tensors_takes_nothing_else() -> None:
    with pytest.raises(ValueError, match=r"counts must be int32 \[R\], got list"):
        ldie_ext.RLE([1], torch.zeros(1), torch.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"coords must be float64 \[P, 2\], got ndarray"):
        Polygons(np.zeros((3, 2)), torch.zeros(1), torch.zeros(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [2**20, 2**40])
def test_allocations_that_fail_name_the_op_and_the_size(rows: int) -> None:
    """An output, and a copy of an input."""
    boxes = torch.zeros(1, 4).expand(rows, 4)
    with pytest.raises(RuntimeError, match=rf"box_iou: not enough memory for a tensor of shape \[{rows}, "):
        ldie_ext.box_iou(boxes, boxes[: 2**20].expand(2**20, 4) if rows > 2**20 else boxes.repeat(16, 1))
