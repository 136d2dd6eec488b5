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

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

try:
    from ldie_ext.memory import keep_pages, release_pages
except ModuleNotFoundError:  # an older package, which alternate.py measures beside its own
    keep_pages = release_pages = None

try:  # the peers, installed only where benchmarks compare with them
    import torchvision
except (ImportError, RuntimeError):
    torchvision = None
tv: ModuleType | None = torchvision.ops if torchvision is not None else None
try:
    from pycocotools import mask as pycoco
except ModuleNotFoundError:
    pycoco = None

VARIANTS = ("ours", "kept", "composed", "peer")  # kept: ours with the pages of big outputs kept
FRESH = 32 << 20  # bytes written, from which on the pages are likely to come from the system at every call
THREADS = (1, 2)
TIME_LIMIT = float(os.environ.get("LDIE_BENCH_SECONDS", "0.5"))  # that a variant may take on one row
MIN_ROUNDS, MAX_ROUNDS = 3, 200


def bytes_of(*things: Any) -> int:
    """Bytes of what a call is given or gives: tensors, arrays, strings and numbers, however nested."""
    total = 0
    for thing in things:
        if isinstance(thing, (Tensor, np.ndarray)):
            total += thing.nbytes
        elif isinstance(thing, (str, bytes)):
            total += len(thing)
        elif isinstance(thing, (int, float)):
            total += 8
        elif isinstance(thing, dict):
            total += bytes_of(*thing.values())
        elif isinstance(thing, (list, tuple)):
            total += bytes_of(*thing)
        elif dataclasses.is_dataclass(thing):
            total += bytes_of(*(getattr(thing, field.name) for field in dataclasses.fields(thing)))
        elif thing is not None:
            raise TypeError(f"cannot tell the bytes of {type(thing).__name__}")
    return total


def touched_bytes(function: Callable[..., Tensor], *tensors: Tensor) -> int:
    """Bytes of those elements of the tensors that a linear function reads, which its gradient shows."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    gradients = torch.autograd.grad(function(*leaves).sum(), leaves)
    return sum(int(gradient.count_nonzero()) * gradient.element_size() for gradient in gradients)


def step_bytes(inputs: Any, output: Any, gradients: Any) -> dict[str, int]:
    """What a forward and a backward call move: both read the inputs, the second also the gradient of the output."""
    return {
        "read_bytes": 2 * bytes_of(inputs) + bytes_of(output),
        "written_bytes": bytes_of(output) + bytes_of(gradients),
    }


def moved(
    ours: Callable[[], Any], read_bytes: int | None, written_bytes: int | None, flops: int | None, given_output: bool
) -> dict[str, Any]:
    """What a row records of the least that its op must do; arguments as of Measure."""
    if read_bytes is None:
        return {}
    written = bytes_of(ours()) if written_bytes is None else written_bytes
    least = {"read_bytes": read_bytes, "written_bytes": written, "given_output": given_output}
    return least | ({} if flops is None else {"flops": flops})


@contextlib.contextmanager
def kept_pages() -> Iterator[None]:
    """Context in which pages of big outputs are kept."""
    keep_pages()
    try:
        yield
    finally:
        release_pages()


def takes_pages(least: dict[str, Any]) -> bool:
    """Whether the row writes memory of its own that is fresh at every call."""
    return least.get("written_bytes", 0) >= FRESH and not least.get("given_output")


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
        read_bytes: int | None = None,
        written_bytes: int | None = None,
        flops: int | None = None,
        given_output: bool = False,
        memory: bool = False,
    ) -> None:
        """Measures one row.

        Args:
            case: what the inputs are, such as "20k boxes, 80 classes".
            ours: the op; called without arguments, as the other variants are.
            composed: the best form written in PyTorch operations.
            peer: the same by torchvision.
            host_peer: instead of a peer, the same by pycocotools or NumPy, with which no GPU is compared.
            read_bytes: the least that the op must read: what it is given, once. Steps of training are two calls, and
                each reads what it needs. Without it the row has no floor (floor.py).
            written_bytes: the least that it must write, if that is more than what `ours` returns.
            flops: arithmetic operations that no implementation can leave out, where they may outweigh the bytes.
            given_output: whether the output is given and its pages are there already.
            memory: also record the peak of memory held.
        """
        function = {"ours": ours, "kept": ours, "composed": composed, "peer": peer or host_peer}[self.variant]
        least = moved(ours, read_bytes, written_bytes, flops, given_output) if function is ours else {}
        if function is None or (self.variant == "kept" and not (keep_pages and takes_pages(least))):
            pytest.skip(f"no {self.variant} for this row")
        self.benchmark.group = f"{self.op} | {case} | cpu, {self.threads} threads"
        self.benchmark.extra_info.update(op=self.op, case=case, variant=self.variant, threads=self.threads)
        self.benchmark.extra_info.update(least)
        if memory and self.variant != "kept":
            self.benchmark.extra_info["peak_memory"] = peak_memory(function)
        with kept_pages() if self.variant == "kept" else contextlib.nullcontext():
            self.benchmark.pedantic(function, rounds=rounds_for(function), iterations=1, warmup_rounds=0)


def elapsed(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rounds_for(function: Callable[[], Any]) -> int:
    """As many rounds as fit the time limit, judged by a second (warm) call; a first one beyond the limit will do."""
    seconds = elapsed(function)
    if seconds < TIME_LIMIT:
        seconds = elapsed(function)
    return int(min(MAX_ROUNDS, max(MIN_ROUNDS, TIME_LIMIT / (seconds + 1e-9))))
