"""The floor of a row: the least time in which this machine could move its bytes and do its arithmetic.

``measure()`` takes the machine's own rates in the run that they are compared with, each the best of several rounds, of
one thread or all: *read* (a sum), *fill* and *copy* (read and written bytes together; the better of PyTorch's and the C
library's, which writes large blocks past the caches). Further *sgemm* (FLOP/s of a product of matrices), the first
write to fresh pages, and a call that has nothing to do.

``floor_seconds()`` is the greater of arithmetic at the rate of sgemm and of moving the bytes. What is both read and
written moves at the rate of a copy, the rest of the reads at that of a read, the rest of the writes at that of a fill.
A call that moves 2 MB works in the caches, one that moves 200 MB in memory: rates are taken at several working sets,
and a row has those at its moved bytes, interpolated over the logarithm of the size.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

MIB = 1 << 20
WORKING_SETS = tuple(size * MIB for size in (1, 4, 16, 64, 256))
FRESH_BYTES = 64 * MIB
MATRIX = 1024  # rows and columns of the product
SECONDS, FEWEST, MOST = 0.2, 8, 1000  # of the rounds of one figure

Points = Sequence[Sequence[float]]  # (bytes, bytes a second), ascending


def rate_at(points: Points, size: float) -> float:
    """Bytes a second at a working set, between the measured ones by the logarithm of the size."""
    for (low, slow), (high, fast) in itertools.pairwise(points):
        if size <= high:
            share = max(0.0, math.log(max(size, 1) / low) / math.log(high / low))
            return slow + share * (fast - slow)
    return points[-1][1]


def floor_seconds(row: dict[str, Any], rates: dict[str, Any]) -> float | None:
    """The floor of a row, by the rates for its number of threads; null where its bytes are not known."""
    if "read_bytes" not in row:
        return None
    read, written = row["read_bytes"], row["written_bytes"]
    both = min(read, written)
    parts = {"copy": 2 * both, "read": read - both, "fill": written - both}
    moving = sum(size / rate_at(rates[kind], read + written) for kind, size in parts.items())
    return max(moving, row.get("flops", 0) / rates["sgemm"])


def best(function: Callable[[], Any]) -> float:
    """Seconds of the fastest call."""
    function()
    end, times = time.perf_counter() + SECONDS, []
    while len(times) < FEWEST or (time.perf_counter() < end and len(times) < MOST):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def moving_rates(size: int, threads: int, pool: ThreadPoolExecutor) -> dict[str, float]:
    """Bytes a second of read, fill and copy in a working set, shared by all threads."""
    block = torch.zeros(size // 4)
    half, part = size // 2, size // 2 // threads
    source, target = block.chunk(2)

    def in_parts(function: Callable[[int], Any]) -> Callable[[], Any]:
        return lambda: list(pool.map(function, range(threads)))

    begin = block.data_ptr()
    c_fill = in_parts(lambda i: ctypes.memset(begin + 2 * i * part, 0, 2 * part))
    c_copy = in_parts(lambda i: ctypes.memmove(begin + half + i * part, begin + i * part, part))
    return {
        "read": size / best(block.sum),
        "fill": size / min(best(lambda: block.fill_(1)), best(c_fill)),
        "copy": size / min(best(lambda: target.copy_(source)), best(c_copy)),
    }


def fresh_rate(advice: int) -> float:
    """Bytes a second of the first write to pages that the system has yet to provide."""
    times = []
    for _ in range(FEWEST):
        with mmap.mmap(-1, FRESH_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
            pages.madvise(advice)
            block = torch.frombuffer(pages, dtype=torch.float32)
            start = time.perf_counter()
            block.fill_(1)
            times.append(time.perf_counter() - start)
            del block
    return FRESH_BYTES / min(times)


def best_moving_rates(size: int, threads: int) -> dict[str, float]:
    """Bytes a second with one thread or with all, whichever are more: small work is not worth waking others."""
    found = []
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        with ThreadPoolExecutor(count) as pool:
            found.append(moving_rates(size, count, pool))
    return {kind: max(each[kind] for each in found) for kind in found[0]}


def rates(threads: int) -> dict[str, Any]:
    """All rates with up to so many threads; leaves PyTorch set to them."""
    by_size = [(size, best_moving_rates(size, threads)) for size in WORKING_SETS]
    torch.set_num_threads(threads)
    matrix, one = torch.rand(MATRIX, MATRIX), torch.ones(1)
    product = torch.empty_like(matrix)
    return {
        **{kind: [(size, found[kind]) for size, found in by_size] for kind in ("read", "fill", "copy")},
        "sgemm": 2 * MATRIX**3 / best(lambda: torch.mm(matrix, matrix, out=product)),
        "fresh_small_pages": fresh_rate(mmap.MADV_NOHUGEPAGE),
        "fresh_huge_pages": fresh_rate(mmap.MADV_HUGEPAGE),
        "call_seconds": best(lambda: one + one),
    }


def measure(thread_counts: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Rates by number of threads, as a result file has them."""
    before, found = torch.get_num_threads(), {}
    for threads in thread_counts:
        found[str(threads)] = rates(threads)
    torch.set_num_threads(before)
    return found
