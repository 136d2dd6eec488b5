# SPDX-License-Identifier: Apache-2.0
"""What torch's profiler records of a call, and how much of it belongs to an event itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, record_function

Result = TypeVar("Result")
_CALL = "recorded call"


@dataclass(frozen=True)
class Recording(Generic[Result]):
    """A call that the profiler has watched."""

    result: Result
    microseconds: float
    """Of the call, until the GPU has done its part."""
    events: list[Any]
    """On the host: operators, labels, calls of the GPU's driver."""


def record(call: Callable[[], Result], device: torch.device) -> Recording[Result]:
    """Runs a call under the profiler.

    Shapes and stacks are not recorded: they cost more time than many an operator.

    Args:
        call: What to record.
        device: Where it computes; a GPU is waited for at both ends.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells stderr of every start and end
    gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    activities = [ProfilerActivity.CPU, *gpu]
    with profile(activities=activities, acc_events=True) as profiler, record_function(_CALL):  # else 2.11 warns
        result = call()
        synchronize(device)
    events = [e for e in profiler.events() or () if e.device_type == DeviceType.CPU and not e.is_async]
    (whole,) = (event for event in events if event.name == _CALL)
    return Recording(result, whole.cpu_time_total, events)


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has done what it was given; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gpu_time(event: Any) -> float:
    """Microseconds of the kernels and copies that an event itself launched, not those inside it."""
    own = (kernel for kernel in event.kernels if kernel.name != event.name)  # labels have a copy on the GPU's time line
    return sum(kernel.duration for kernel in own)


def lineage(event: Any) -> Iterator[Any]:
    """An event and those that it is inside of, from the inside."""
    while event is not None:
        yield event
        event = event.cpu_parent


def inside(event: Any) -> Iterator[Any]:
    """An event and all that are inside it."""
    waiting = [event]
    while waiting:
        event = waiting.pop()
        yield event
        waiting += event.cpu_children
