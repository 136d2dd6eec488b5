"""A valid call of every public function, its arguments by name: what a test changes one of."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import op_cases
import torch

import ldie_ext
from ldie_ext.ops import PUBLIC

FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}


def recorded() -> dict[str, list[dict[str, Any]]]:
    """The calls that the cases make, on the CPU: each with all arguments, also those that have defaults."""
    calls: dict[str, list[dict[str, Any]]] = {name: [] for name in FUNCTIONS}
    names = {inspect.unwrap(function).__code__: name for name, function in FUNCTIONS.items()}

    def record(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in names:
            calls[names[frame.f_code]].append(dict(frame.f_locals))

    for case in op_cases.CASES:
        inputs = [tensor.detach() for tensor in case.inputs_on(torch.device("cpu"))]
        _watched(record, case.call, *inputs)
    _watched(record, _plan, torch.rand(3, 8, 8))
    return calls


def _plan(image: torch.Tensor) -> None:
    """A search that runs ops and gives recipes, and so is no case of an op."""
    ldie_ext.plan_edits(image, image * 0.5, operators=["EXPOSURE"], max_steps=1)


def _watched(record: Callable[[FrameType, str, object], None], call: Callable[..., Any], *inputs: torch.Tensor) -> None:
    sys.setprofile(record)
    try:
        call(*inputs)
    finally:
        sys.setprofile(None)
