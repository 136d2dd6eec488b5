"""Seconds and memory of parts of a system, in one run or in a process for each."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def alternately(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The medians of the seconds of calls that take turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: sorted(own)[len(own) // 2] for name, own in seconds.items()}


def print_peaks(module: str, names: Sequence[str], options: Sequence[str]) -> None:
    """Runs ``module`` with ``--peak-of`` each name, in processes of their own."""
    for name in names:
        subprocess.run([sys.executable, "-m", module, "--peak-of", name, *options], check=True)


def print_peak(name: str, call: Callable[[], Any], *, gradients: bool) -> None:
    """Resident memory of this process before a call and at its worst moment."""
    before = _resident("VmRSS")
    with torch.set_grad_enabled(gradients):
        call()
    print(f"{name:10s} {before:6.0f} MiB before, {_resident('VmHWM') - before:6.0f} MiB more at the peak", flush=True)


def _resident(name: str) -> float:
    """MiB of this process: now (VmRSS) or at most (VmHWM)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
