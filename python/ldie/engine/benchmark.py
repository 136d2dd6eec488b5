# SPDX-License-Identifier: Apache-2.0
"""Latency, its stages and peak memory of inference: ``ldie benchmark``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ldie.engine.events import Recording, gpu_time, lineage, record, synchronize
from ldie.stages import PREFIX

WARM_UP = 3
"""Calls before those that are measured, also of the profiler: the first ones allocate, choose kernels and load code."""
_PROFILED = 10
"""Most calls under the profiler."""
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Stage:
    """What a stage has of a profiled call, without the stages inside it; times in seconds."""

    calls: float = 0.0
    seconds: float = 0.0
    """On the host, which waits for the GPU where it needs a result."""
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What was measured of a call."""

    seconds: list[float]
    """Of each repetition, without a profiler."""
    peak_memory: int | None
    """Bytes: see :data:`MEMORY`; None where the system does not tell."""
    stages: dict[str, Stage]
    """By name, in the order of their first start."""
    profiled_seconds: float
    """Of a call under the profiler: all stages and what is outside of them."""

    @property
    def median(self) -> float:
        """Seconds that half of the calls stay below."""
        return statistics.median(self.seconds)

    @property
    def p90(self) -> float:
        """Seconds that nine of ten calls stay below."""
        return float(torch.tensor(self.seconds, dtype=torch.float64).quantile(0.9))


MEMORY = {
    "cuda": "allocated by PyTorch on the GPU, weights included",
    "cpu": "resident memory of the process above that before the first call, weights not included",
}
"""What the peak memory is of, by type of device."""


def measure(call: Callable[[], Any], device: torch.device, repeats: int) -> Measured:
    """Measures a call: first its time and memory as it is, then its stages under the profiler.

    Args:
        call: What to measure; its stages are those labelled by :func:`ldie.stages.stage`.
        device: Where it computes; a GPU is waited for at the end of a call.
        repeats: Calls to time.
    """
    read_peak = _watch_memory(device)
    for _ in range(WARM_UP):
        call()
    seconds = [_timed(call, device) for _ in range(repeats)]
    peak = read_peak()
    recordings = [record(call, device) for _ in range(WARM_UP + min(repeats, _PROFILED))][WARM_UP:]
    stages: dict[str, Stage] = {}
    for recording in recordings:
        add_stages(stages, recording, 1 / len(recordings))
    return Measured(seconds, peak, stages, statistics.fmean(each.microseconds for each in recordings) / 1e6)


def _timed(call: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - began


def add_stages(stages: dict[str, Stage], recording: Recording[Any], weight: float) -> None:
    """Adds the stages of one call; what is inside an inner stage is taken from the outer one."""
    for event in sorted(recording.events, key=lambda event: event.time_range.start):
        around = [each.name.removeprefix(PREFIX) for each in lineage(event) if each.name.startswith(PREFIX)]
        if not around:
            continue
        if event.name.startswith(PREFIX):
            inner = stages.setdefault(around[0], Stage())
            inner.calls += weight
            inner.seconds += weight * event.cpu_time_total / 1e6
            if around[1:]:
                stages[around[1]].seconds -= weight * event.cpu_time_total / 1e6
        stages[around[0]].gpu_seconds += weight * gpu_time(event) / 1e6


def _watch_memory(device: torch.device) -> Callable[[], int | None]:
    """Starts to watch; gives the function that reads the peak in bytes (:data:`MEMORY`)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    try:
        _RESET.write_text("5")  # the peak of resident memory falls to the present amount
        start = _resident("VmRSS")
    except (OSError, ValueError):  # not Linux, or /proc is not there
        return lambda: None
    return lambda: max(0, _resident("VmHWM") - start)


def _resident(name: str) -> int:
    """Bytes of resident memory of this process: now (VmRSS) or at most (VmHWM)."""
    lines = [line.split() for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    ((_, kilobytes, _),) = lines
    return int(kilobytes) * 1024
