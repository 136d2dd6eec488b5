"""A benchmark row on a GPU: all variants in one go, one line of JSON as it ends, so that a time-out loses nothing.

GPU time is taken with events behind a sleeping kernel, which hides the host's queueing: *hot* back to back, *cold* with
a write of 256 MB between calls, which no L2 cache survives. *Wall* is what a caller sees: calls, then one
synchronisation. An op that waits for the device cannot be queued: it has wall time alone. Launches are counted in a run
of their own, as the profiler slows down what runs after it.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import harness
import pytest
import torch
from gpu.steps import AGAIN

SLOW = 0.1  # seconds a call: those run once
BUDGET = 0.03  # seconds for the calls of one figure
FEWEST, MOST = 3, 20  # calls
FLUSH_BYTES = 256 << 20
CYCLES_PER_SECOND = 2e9  # of the sleeping kernel, on the fast side: too long a sleep costs little
COPY_BYTES = 1 << 30

Function = Callable[[], Any]


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def elapsed(function: Function, calls: int) -> tuple[float, float]:
    """Seconds a call: until the host is free again, and until the device is done."""
    synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    queued = time.perf_counter()
    synchronize()
    return (queued - start) / calls, (time.perf_counter() - start) / calls


def waits(function: Function) -> bool:
    """Whether a function that has run before makes the host wait for the device, which is all that can fail it now."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        function()
    except RuntimeError:
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


def event_seconds(function: Function, calls: int, host_seconds: float, flush: torch.Tensor | None) -> float:
    """Median GPU time of a call, queued behind a kernel that sleeps until all calls are."""
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(calls)]
    torch.cuda._sleep(int(min(0.2, 1.5 * host_seconds * calls + 1e-3) * CYCLES_PER_SECOND))
    for before, after in pairs:
        if flush is not None:
            flush.zero_()
        before.record()
        function()
        after.record()
    synchronize()
    return statistics.median(before.elapsed_time(after) * 1e-3 for before, after in pairs)


def timings(function: Function, flush: torch.Tensor | None) -> dict[str, float]:
    """Seconds by name; `flush` is null where there is no GPU."""
    function()
    _, once = elapsed(function, 1)
    if once > SLOW:
        return {"once": once}
    calls = max(FEWEST, min(MOST, int(BUDGET / once)))
    rounds = [elapsed(function, calls) for _ in range(3)]
    times = {"wall": statistics.median(done for _, done in rounds)}
    if flush is not None and not waits(function):
        host = statistics.median(queued for queued, _ in rounds)
        times["hot"] = event_seconds(function, calls, host, None)
        times["cold"] = event_seconds(function, calls, host, flush)
    return times


def kernels(function: Function) -> dict[str, Any]:
    """How many kernels, copies and fills a call starts, and the GPU time of each name."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    function()
    synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        function()
        synchronize()
    events = [event for event in profiled.events() if event.device_type == DeviceType.CUDA]
    seconds: Counter[str] = Counter()
    for event in events:
        seconds[event.name[:100]] += event.device_time * 1e-6
    return {"launches": len(events), "gpu_seconds": sum(seconds.values()), "kernels": dict(seconds.most_common(12))}


def peak_memory(function: Function) -> int:
    """Bytes that the function holds at its worst moment beyond what was allocated before it."""
    synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    return torch.cuda.max_memory_allocated() - before


@cache
def flush_buffer(device: torch.device) -> torch.Tensor | None:
    """What is written to empty the L2 cache; null where there is none to empty."""
    return torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device) if device.type == "cuda" else None


def end_if_broken() -> None:
    """After an illegal access no call of this process succeeds: it ends, and the next goes on with the next row."""
    try:
        synchronize()
    except Exception as error:
        print(f"the process ends: {error}", flush=True)
        os._exit(AGAIN)


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of the largest plain copy: what a memory-bound kernel can reach."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / event_seconds(lambda: target.copy_(source), 20, 1e-4, None)


@dataclass
class RowFile:
    """Lines of JSON, one a row. A run that begins with such a file leaves out the rows that are in it."""

    path: Path
    end: float  # of time.monotonic(): rows that would begin later are left out
    rows: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.path.exists():
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
            self.rows = {(line["op"], line["case"]) for line in lines if "op" in line}

    def write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def skip_done(self, op: str, case: str) -> None:
        if (op, case) in self.rows:
            pytest.skip("measured by an earlier run")
        if time.monotonic() > self.end:
            pytest.skip("out of time")


@dataclass
class GpuMeasure:
    """The ``measure`` fixture on a GPU; arguments as of harness.Measure."""

    op: str
    device: torch.device
    file: RowFile
    flush: torch.Tensor | None
    count_launches: bool

    def __call__(
        self,
        case: str,
        *,
        ours: Function,
        composed: Function | None = None,
        peer: Function | None = None,
        host_peer: Function | None = None,
        read_bytes: int | None = None,
        written_bytes: int | None = None,
        flops: int | None = None,
        given_output: bool = False,
        memory: bool = False,
    ) -> None:
        self.file.skip_done(self.op, case)
        row: dict[str, Any] = {"op": self.op, "case": case}
        if self.count_launches:
            self.file.write(row | self._tried(kernels, ours))
            return
        variants = {"ours": ours, "composed": composed, "peer": peer}
        for name, function in variants.items():
            if function is not None:
                row[name] = self._tried(lambda function=function: timings(function, self.flush))
                if memory and self.flush is not None and "error" not in row[name]:
                    row[name]["peak_memory"] = peak_memory(function)
        if "error" not in row["ours"]:
            row |= harness.moved(ours, read_bytes, written_bytes, flops, given_output)
        self.file.write(row)
        assert "error" not in row["ours"], row["ours"]["error"]

    @staticmethod
    def _tried(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        """What the function gives, or its error: the other variants are still worth their time."""
        try:
            return function(*arguments)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:300]}
