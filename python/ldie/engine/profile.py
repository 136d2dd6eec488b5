# SPDX-License-Identifier: Apache-2.0
"""Where the time of a training step goes, operator by operator: ``ldie train --profile``."""

from __future__ import annotations

import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ldie.engine.events import gpu_time, inside, record, synchronize
from ldie.engine.log import logger
from ldie.engine.tables import table

WARM_UP = 5
"""Steps before those that are profiled: the first ones are slower, and so is the profiler's own first one."""
_LISTED = 8
"""Other operators that have a row of their own."""

OURS, PRODUCTS, OTHERS = "ldie_ext operators", "convolutions, matrix products", "other operators"
OPTIMIZERS, DATA, REST = "optimizers", "waiting for data", "Python, autograd and the rest"
GROUPS = (OURS, PRODUCTS, OTHERS, OPTIMIZERS, DATA)
_PATTERNS = {
    OURS: r"ldie_ext::(\w+)",
    PRODUCTS: r"(aten::(?:conv|_conv|cudnn_conv|mm$|bmm$|addmm|baddbmm|matmul|linear$|\w*scaled_dot_product)\w*)",
    OTHERS: r"((?!(?:autograd|torch|profiler|ldie)::)\w+::\w+)",
    OPTIMIZERS: r"Optimizer\.\w+#(\w+\.\w+)",
    DATA: r"enumerate\((DataLoader)\)",
}
"""The names of the events that count for a group, the first that fits, with all that is inside them."""

Result = TypeVar("Result")


@dataclass
class Share:
    """What an operator has of the profiled steps; times in microseconds."""

    calls: int = 0
    host: float = 0.0
    gpu: float = 0.0

    def add(self, calls: int, host: float, gpu: float) -> None:
        """Adds to it."""
        self.calls += calls
        self.host += host
        self.gpu += gpu


class StepProfile:
    """Profiles some steps of a run, after the first :data:`WARM_UP`, and prints a table.

    Every step is a recording of its own, so nothing between steps (evaluations, checkpoints) is in it. The steps
    compute what they compute without it; a GPU is waited for at both ends of a step.

    Args:
        steps: How many to profile; 0: none, and no step is touched.
        device: Where they compute.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        self._steps, self._device = steps, device
        self._done = 0
        self._plain: list[float] = []
        self._total = 0.0
        self.shares: dict[str, dict[str, Share]] = {group: defaultdict(Share) for group in GROUPS}
        """By group and operator."""
        self.rest = Share()
        """What is in no group."""

    def run(self, step: Callable[[], Result]) -> Result:
        """Runs one step."""
        if self._is_over():
            return step()
        self._done += 1
        if self._done < WARM_UP:
            return self._run_plain(step)
        recording = record(step, self._device)
        if self._done > WARM_UP:
            self.add(recording.microseconds, recording.events)
        if self._is_over():
            logger.info("%s", self.report())
        return recording.result

    def finish(self) -> None:
        """Says so if the run ends before the last step to profile."""
        if self._is_over():
            return
        logger.warning(
            "--profile: the run ended %d steps later, too early to profile %d after %d of warm-up; raise "
            "solver.max_iter or give --profile a smaller number",
            self._done, self._steps, WARM_UP,
        )  # fmt: skip
        if self._profiled:
            logger.info("%s", self.report())

    @property
    def _profiled(self) -> int:
        return max(0, self._done - WARM_UP)

    def _is_over(self) -> bool:
        return not self._steps or self._profiled == self._steps

    def _run_plain(self, step: Callable[[], Result]) -> Result:
        synchronize(self._device)
        began = time.perf_counter()
        result = step()
        synchronize(self._device)
        self._plain.append(time.perf_counter() - began)
        return result

    def add(self, microseconds: float, events: Iterable[Any]) -> None:
        """Adds what was recorded of one step."""
        self._total += microseconds
        self.rest.add(0, microseconds, 0.0)
        for event, named in _outermost(events):
            if named is None:
                self.rest.gpu += gpu_time(event)
                continue
            group, name = named
            self.shares[group][name].add(1, event.cpu_time_total, sum(map(gpu_time, inside(event))))
            self.rest.host -= event.cpu_time_total

    def report(self) -> str:
        """The table of the steps profiled so far."""
        step, plain = self._total / self._profiled / 1e3, statistics.median(self._plain) * 1e3
        head = ["", "ms/step", "%", "calls/step"] + ["GPU ms/step"] * self._has_gpu
        rows = [self._row(name, share) for name, share in self._lines()]
        title = f"profiled steps: {self._profiled}; {step:.1f} ms each, {plain:.1f} ms without the profiler"
        return f"{title}\n{table([head, *rows])}"

    @property
    def _has_gpu(self) -> bool:
        return self._device.type == "cuda"

    def _lines(self) -> Iterator[tuple[str, Share]]:
        """Groups with their operators, the slowest first."""
        for group in GROUPS:
            operators = sorted(self.shares[group].items(), key=lambda item: self._weight(item[1]), reverse=True)
            yield group, _sum(share for _, share in operators)
            if group == DATA:
                continue
            listed = len(operators) if group != OTHERS else _LISTED
            yield from ((f"  {name}", share) for name, share in operators[:listed])
            if operators[listed:]:
                yield f"  {len(operators) - listed} more", _sum(share for _, share in operators[listed:])
        yield REST, self.rest

    def _weight(self, share: Share) -> float:
        return share.gpu if self._has_gpu else share.host

    def _row(self, name: str, share: Share) -> list[str]:
        steps = self._profiled
        calls = "" if name == REST else f"{share.calls / steps:g}"
        cells = [name, f"{share.host / steps / 1e3:.2f}", f"{100 * share.host / self._total:.1f}", calls]
        return cells + [f"{share.gpu / steps / 1e3:.2f}"] * self._has_gpu


def _outermost(events: Iterable[Any]) -> Iterator[tuple[Any, tuple[str, str] | None]]:
    """Events that belong to a group, with group and name, outermost ones only; and those that are in no such event."""
    waiting = [event for event in events if event.cpu_parent is None]
    while waiting:
        event = waiting.pop()
        named = _group(event.name)
        yield event, named
        if named is None:
            waiting += event.cpu_children


def _group(event: str) -> tuple[str, str] | None:
    for group, pattern in _PATTERNS.items():
        found = re.match(pattern, event)
        if found:
            return group, found[1]
    return None


def _sum(shares: Iterable[Share]) -> Share:
    total = Share()
    for share in shares:
        total.add(share.calls, share.host, share.gpu)
    return total
