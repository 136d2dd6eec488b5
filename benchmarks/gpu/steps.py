"""Commands under one deadline: time is split over steps by their shares, and what a step leaves goes to the next."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

AGAIN = 77  # the exit status of a process that cannot go on, and whose work another one should
GRACE = 3.0  # seconds between asking a group of processes to end and ending it


@dataclass
class Clock:
    """The deadline of all steps together."""

    seconds: float
    shares: dict[str, float]  # of the steps that have not begun
    start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def begin(self, step: str) -> float:
        """Seconds that the step may take."""
        total = sum(self.shares.values())
        return max(0.0, self.seconds - self.elapsed()) * self.shares.pop(step) / total


def run_group(command: Sequence[object], limit: float, log: Path, environment: Mapping[str, str], cwd: Path) -> int:
    """Runs a command with its output appended to a log; at the limit it is ended with all that it started.

    Returns the exit status, negative for a signal, as that of a command ended at its limit is.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=dict(environment), cwd=cwd, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(max(0.1, limit))
        except subprocess.TimeoutExpired:
            return _end(process)
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ends the process and its whole group, grandchildren included."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
