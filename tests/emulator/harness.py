# SPDX-License-Identifier: Apache-2.0
"""Runs the kernels of ``planted/`` in each mode of the emulator. As a script: one planted bug, for the asan mode."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SCHEDULES = ("forward", "reverse", "random:1", "random:2")
RESULTS = 256 + 16  # kThreads + kBins of planted/cases.h


@contextmanager
def schedule(name: str) -> Iterator[None]:
    """Sets SIMT_SCHEDULE, which the emulator reads at every launch."""
    before = os.environ.get("SIMT_SCHEDULE")
    os.environ["SIMT_SCHEDULE"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["SIMT_SCHEDULE"]
        else:
            os.environ["SIMT_SCHEDULE"] = before


class Planted:
    """The planted kernels of one mode, called through their C interface."""

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(str(folder / "planted.so"))
        for name in ("planted_names", "planted_run", "semantics_run", "program_run", "block_sums"):
            getattr(self.library, name).restype = ctypes.c_char_p

    def names(self) -> list[str]:
        """Every planted bug."""
        return self.library.planted_names().decode().split()

    def run(self, name: str, bug: bool, order: str = "forward") -> tuple[str, list[float]]:
        """Runs one planted bug or its correct twin; returns the error, or "", and the results."""
        results = (ctypes.c_double * RESULTS)()
        with schedule(order):
            error = self.library.planted_run(name.encode(), int(bug), results)
        return (error.decode() if error else ""), list(results)


@cache
def planted(mode: str) -> Planted:
    """Builds what is out of date and loads it; not for asan, whose library only a prepared process can load."""
    from emulator.build import ensure

    return Planted(ensure(mode, "planted"))


def run_under_asan(*names: str, bug: bool) -> subprocess.CompletedProcess[str]:
    """Runs planted bugs, or their twins, in a process of their own that has the sanitizers' libraries loaded first."""
    from emulator.build import ensure

    def library(name: str) -> str:
        command = ["g++", f"-print-file-name={name}"]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()

    environment = {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    command = [sys.executable, __file__, str(ensure("asan", "planted")), str(int(bug)), *names]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120)


def main() -> None:
    folder, bug, *names = sys.argv[1:]
    kernels = Planted(Path(folder))
    for name in names:
        for order in SCHEDULES:
            error, _ = kernels.run(name, bug == "1", order)
            if error:
                print(error, file=sys.stderr)
                sys.exit(3)


if __name__ == "__main__":
    main()
