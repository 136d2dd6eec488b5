# SPDX-License-Identifier: Apache-2.0
"""Loss means, the console, ``log.jsonl`` and trackers."""

from __future__ import annotations

import json
import logging
import math
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ldie import console
from ldie.config import RunConfig, to_dict
from ldie.engine import distributed, trackers
from ldie.engine.trackers import TrackedRun, Tracker
from ldie.errors import CheckpointError, TrainingError
from ldie.files import first_line, write_text

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger("ldie")

MEASURED = ("seconds", "data_seconds", "samples_per_second", "memory")
"""Keys of a record whose values are another run's, although it does the same."""
KINDS = ("start", "train", "eval")
"""Of records."""


class Meter:
    """Means of loss terms over one logging interval, without waiting for the device at every step."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Remembers the terms of one step; which terms there are may change between steps."""
        if terms:
            values = torch.stack([value.detach().float() for value in terms.values()])
            self._rows.append((step, tuple(terms), values))

    def pop_means(self) -> dict[str, float]:
        """Means by term over the steps that had it; starts the next interval. Raises as :meth:`state_dict` does."""
        totals: dict[str, list[float]] = {}
        for _, names, values in self.state_dict():
            for name, value in zip(names, values):
                totals.setdefault(name, []).append(value)
        self._rows.clear()
        return {name: math.fsum(values) / len(values) for name, values in totals.items()}

    def state_dict(self) -> list[tuple[int, tuple[str, ...], list[float]]]:
        """The interval so far, means over the ranks, as plain values.

        Raises:
            TrainingError: A term is not finite on some rank.
        """
        rows = self._read()
        for step, names, values in rows:
            for name, value in zip(names, values):
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{name} is {value} at step {step}; lower the learning rate, clip gradients, "
                        "or train with mixed_precision=none"
                    )
        return rows

    def load_state_dict(self, state: Sequence[tuple[int, tuple[str, ...], list[float]]]) -> None:
        """Takes over what :meth:`state_dict` gave."""
        self._rows = [(step, tuple(names), torch.tensor(values)) for step, names, values in state]

    def _read(self) -> list[tuple[int, tuple[str, ...], list[float]]]:
        if not self._rows:
            return []
        flat = distributed.mean(torch.cat([values for _, _, values in self._rows]))
        values = iter(flat.tolist())
        return [(step, names, [next(values) for _ in names]) for step, names, _ in self._rows]


class RunLog:
    """``log.jsonl``, one JSON object per line, and trackers; ranks other than 0 write nothing.

    Args:
        work_dir: Folder of the run.
        resume_step: Steps done so far; records of later steps, left by a run that was cut off, are dropped.
        evaluated_step: Step of the last evaluation that counts; records of later ones are dropped.
    """

    def __init__(self, work_dir: Path, resume_step: int = 0, evaluated_step: int | None = None) -> None:
        self._work_dir, self._step = work_dir, resume_step
        self._trackers: dict[str, Tracker] = {}
        self._file = None
        if distributed.rank() == 0:
            self._path = work_dir / "log.jsonl"
            last = dict.fromkeys(KINDS, resume_step)
            last["eval"] = resume_step if evaluated_step is None else evaluated_step
            records = read_log(self._path, KINDS) if resume_step else []
            kept = [json.dumps(record) + "\n" for record in records if record["step"] <= last[record["kind"]]]
            write_text(self._path, "".join(kept))  # at once: a kill must not cost the history
            self._file = self._path.open("a", encoding="utf-8")

    def start(self, origin: Mapping[str, str], config: RunConfig) -> None:
        """Writes where the run comes from, and opens the trackers of ``config.log``.

        Raises:
            ConfigError: A tracker cannot be started.
        """
        if self._file is None:
            return
        ids = [record["run"] for record in read_log(self._path, ("start",)) if isinstance(record.get("run"), str)]
        run = ids[0] if ids else uuid.uuid4().hex
        self.write("start", self._step, {}, run=run, **origin)
        tracked = TrackedRun(run, self._work_dir, config.log.project, self._step, to_dict(config))
        for name in trackers.chosen(config.log.to):
            self._trackers[name] = trackers.start(name, tracked)

    def write(self, kind: str, step: int, values: Mapping[str, float], **extra: Any) -> None:
        """Appends one record: ``kind`` is ``start``, ``train`` or ``eval``; what is not finite is written as null."""
        if self._file is None:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._file.write(json.dumps({"kind": kind, "step": step, **extra, **finite}) + "\n")
            self._file.flush()
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be written ({error.strerror}); free space") from error
        for name in list(self._trackers):
            self._tell(name, lambda tracker: tracker.log(trackers.figures(kind, finite, extra), step))

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written has been said by write
                self._file.close()
        for name in list(self._trackers):
            self._tell(name, lambda tracker: tracker.close())

    def _tell(self, name: str, call: Callable[[Tracker], None]) -> None:
        """A tracker that fails, as one whose server is gone, must not cost the run: it is left out from then on."""
        try:
            call(self._trackers[name])
        except Exception as error:
            del self._trackers[name]
            logger.warning("%s fails (%s); going on without it", name, first_line(error))


def read_log(path: Path, kinds: Sequence[str] = ("train", "eval")) -> list[dict[str, Any]]:
    """The records of a ``log.jsonl``; what comes after a line that was cut off or damaged is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            if record["kind"] not in KINDS or not isinstance(record["step"], int):
                raise ValueError("no record of ours")
        except (ValueError, TypeError, KeyError, RecursionError):
            break
        records.append(record)
    return [record for record in records if record["kind"] in kinds]


class _ConsoleHandler(logging.Handler):
    """Prints to stdout without breaking a progress bar on stderr; a run outlives the reader of its stdout."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # only a console needs it

        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except OSError as error:
            console.give_up_stdout()
            console.say(f"stdout cannot be written ({error.strerror}); going on without it")


def configure_console(debug: bool = False) -> None:
    """Sends the ``ldie`` logger to stdout, messages only; ranks other than 0 print warnings only."""
    logger.handlers[:] = [_ConsoleHandler()]
    logger.propagate = False
    quiet = distributed.rank() != 0
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if debug else logging.INFO)


def progress_bar(total: int, initial: int, description: str) -> tqdm:
    """A bar on stderr; silent where that is not a terminal, and on ranks other than 0."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty() or distributed.rank() != 0
    return tqdm(total=total, initial=initial, desc=description, disable=hidden, dynamic_ncols=True, unit="it")
