# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM as a wish to stop after the running step, so that the checkpoint holds whole steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from ldie.engine import distributed

_RANK_CHECK_INTERVAL = 10
"""Steps between agreements of the ranks on stopping: each is a collective that waits for the device."""


class StopSignal:
    """Context in which SIGINT and SIGTERM set a flag; a second SIGINT in a single process stops at once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wanted = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def wanted(self, step: int) -> bool:
        """Whether to stop after ``step`` steps; the same answer on every rank."""
        if not distributed.is_active():
            return self._wanted
        if step % _RANK_CHECK_INTERVAL:
            return False
        flag = torch.tensor(float(self._wanted), device=self._device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # torchrun repeats a signal that the terminal has sent to every rank already, so ranks take any number of them
        if self._wanted and number == signal.SIGINT and not distributed.is_active():
            raise KeyboardInterrupt
        self._wanted = True


def ignore_in_worker(_worker: int) -> None:
    """``worker_init_fn`` of data loaders: Ctrl-C reaches the whole process group, and only the trainer decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
