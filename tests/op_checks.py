"""Checks that every op passes, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Outputs = Tensor | tuple[Tensor, ...]


def assert_same(actual: Outputs, expected: Outputs) -> None:
    """Bit for bit the same, NaN equal to NaN."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def assert_compiles(function: Callable[..., Any], *args: Any) -> None:
    """torch.compile without a graph break gives what eager gives."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_same(compiled(*args), function(*args))


def assert_threads_agree(function: Callable[[], Outputs]) -> None:
    """One thread and several give the same bits."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = function()
        torch.set_num_threads(max(2, threads))
        assert_same(function(), single)
    finally:
        torch.set_num_threads(threads)


#: Source for a child process: the most memory that it held, in KiB, of itself alone. ru_maxrss would begin with that of
#: the process that started it.
PEAK = """
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak_bytes(function: Callable[[], object]) -> int:
    """What the function's tensors hold at its worst moment."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    held = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def random_boxes(count: int, height: float, width: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes x1 y1 x2 y2 of all sizes that may reach over the border."""
    centre = torch.rand(count, 2, dtype=torch.float64) * torch.tensor([width, height])
    size = torch.rand(count, 2, dtype=torch.float64) * torch.tensor([width, height]) * 0.6
    return torch.cat([centre - size / 2, centre + size / 2], dim=1).to(dtype)


def random_offsets(batch: int, count: int) -> Tensor:
    """Offsets that split `count` rows over `batch` images, some of them empty."""
    cuts = torch.randint(0, count + 1, (batch - 1,)).sort().values
    return torch.cat([torch.zeros(1, dtype=torch.int64), cuts, torch.tensor([count])])
