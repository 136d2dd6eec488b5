"""Sees, without a GPU, where a call would copy between host and device or wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

#: What the native side and autograd read or make on the host, whoever calls it: `item`, sizes that depend on data,
#: tensors of Python numbers.
ATEN = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "_unique2", "equal", "lift_fresh", "masked_select", "nonzero", "unique_dim")
}
#: What leaves no trace in ATen when all is on the CPU.
PYTHON = {Tensor.cpu, Tensor.cuda, Tensor.numpy, Tensor.pin_memory, Tensor.tolist, Tensor.__array__}


class _PythonCalls(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in PYTHON or (func is Tensor.to and _names_a_device(args[1:], kwargs)):
            self.found.append(f"Tensor.{func.__name__}")
        return func(*args, **kwargs)


def _names_a_device(args: tuple, kwargs: dict) -> bool:
    """Whether `to` may move: inputs are on the device already, so an op has no reason to ask for it."""
    return any(isinstance(value, (str, torch.device, Tensor)) for value in (*args, *kwargs.values()))


def host_copies(function: Callable[[], Any]) -> list[str]:
    """Names of the calls that would copy or wait if the tensors were on a GPU."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler, _PythonCalls() as python:
        function()
    return [*python.found, *(event.name for event in profiler.events() if event.name in ATEN)]
