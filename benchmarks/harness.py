"""One row of a benchmark: an op, the best composed PyTorch form and the peer on the same inputs, in the same run.

A bench file is ``benchmarks/<family>/bench_<op>.py``; a row is one call of the ``measure`` fixture::

    def bench_nms(measure):
        boxes, scores = uniform_boxes(measure.device)
        peer = harness.tv and (lambda: harness.tv.nms(boxes, scores, 0.5))
        measure("20k uniform", ours=lambda: ldie_ext.nms(boxes, scores, 0.5), peer=peer)

On the CPU each row runs under pytest-benchmark, once per variant and thread count; on a GPU all variants run together
(gpu/rows.py). A variant that is None (as a peer is where it is not installed) is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch

try:  # the peers, installed only where benchmarks compare with them
    import torchvision
except (ImportError, RuntimeError):
    torchvision = None
tv: ModuleType | None = torchvision.ops if torchvision is not None else None
try:
    from pycocotools import mask as pycoco
except ModuleNotFoundError:
    pycoco = None

VARIANTS = ("ours", "composed", "peer")
THREADS = (1, 2)
TIME_LIMIT = 2.0  # seconds a variant may take on one row
MIN_ROUNDS, MAX_ROUNDS = 5, 200


def peak_memory(function: Callable[[], Any]) -> int:
    """Bytes that the function holds at its worst moment beyond what was allocated before it."""
    function()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = function()
    del result
    held = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@dataclass
class Measure:
    """Runs the chosen variant of a row under pytest-benchmark, on the CPU."""

    benchmark: Any
    op: str
    variant: str
    threads: int
    device = torch.device("cpu")

    def __call__(
        self,
        case: str,
        *,
        ours: Callable[[], Any],
        composed: Callable[[], Any] | None = None,
        peer: Callable[[], Any] | None = None,
        host_peer: Callable[[], Any] | None = None,
        moved_bytes: int | None = None,
        memory: bool = False,
    ) -> None:
        """Measures one row.

        Args:
            case: what the inputs are, such as "20k boxes, 80 classes".
            ours: the op; called without arguments, as the other variants are.
            composed: the best form written in PyTorch operations.
            peer: the same by torchvision.
            host_peer: instead of a peer, the same by pycocotools or NumPy, with which no GPU is compared.
            moved_bytes: the least that the op must read and write, for the bandwidth in the report.
            memory: also record the peak of memory held.
        """
        function = {"ours": ours, "composed": composed, "peer": peer or host_peer}[self.variant]
        if function is None:
            pytest.skip(f"no {self.variant} for this row")
        self.benchmark.group = f"{self.op} | {case} | cpu, {self.threads} threads"
        self.benchmark.extra_info.update(op=self.op, case=case, variant=self.variant, threads=self.threads)
        if moved_bytes is not None:
            self.benchmark.extra_info["moved_bytes"] = moved_bytes
        if memory:
            self.benchmark.extra_info["peak_memory"] = peak_memory(function)
        self.benchmark.pedantic(function, rounds=rounds_for(function), iterations=1, warmup_rounds=0)


def rounds_for(function: Callable[[], Any]) -> int:
    """As many rounds as fit the time limit, judged by a second (warm) call."""
    function()
    start = time.perf_counter()
    function()
    return int(min(MAX_ROUNDS, max(MIN_ROUNDS, TIME_LIMIT / (time.perf_counter() - start + 1e-9))))
