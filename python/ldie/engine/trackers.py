# SPDX-License-Identifier: Apache-2.0
"""Experiment trackers: where a run's figures go beside the console and ``log.jsonl``."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ldie.errors import ConfigError
from ldie.files import first_line
from ldie.packages import is_installed


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run."""

    id: str
    """The same where the run goes on."""
    work_dir: Path
    project: str
    step: int
    """Steps done; figures of later ones are to be replaced."""
    config: Mapping[str, Any]
    """Plain values, nested."""


class Tracker(Protocol):
    """One of the services below; made with a :class:`TrackedRun`."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Takes finite figures after so many steps."""

    def close(self) -> None:
        """Sends what is left."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the work folder."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = str(run.work_dir / "tensorboard")
        self._writer = SummaryWriter(folder, purge_step=run.step + 1 if run.step else None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See :meth:`Tracker.close`."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run; account, server and offline mode are those of its environment variables (``WANDB_MODE=offline``)."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        self._run = wandb.init(
            project=run.project,
            name=run.work_dir.name,
            id=run.id,
            resume="allow",
            dir=str(run.work_dir),
            config=dict(run.config),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See :meth:`Tracker.close`."""
        self._run.finish()


class MLflow:
    """An MLflow run where ``MLFLOW_TRACKING_URI`` says, be it a server, a database or a folder."""

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(run.project)
        place = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
        found = self._client.search_runs([place], f"tags.ldie_run = '{run.id}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return  # what a parameter was at first cannot be changed
        tags = {"ldie_run": run.id, "work_dir": str(run.work_dir)}
        self._id = self._client.create_run(place, run_name=run.work_dir.name, tags=tags).info.run_id
        parameters = [Param(name, str(value)[:500]) for name, value in _flat(run.config).items()]
        for first in range(0, len(parameters), 100):  # as many as one call takes
            self._client.log_batch(self._id, params=parameters[first : first + 100])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log`; characters that its names cannot have become underscores."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(re.sub(r"[^\w./ -]", "_", name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """See :meth:`Tracker.close`."""
        self._client.set_terminated(self._id)


TRACKERS: dict[str, tuple[str, Callable[[TrackedRun], Tracker]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
    "mlflow": ("mlflow", MLflow),
}
"""By the name in ``log.to``: the package that it needs, and the class."""
DEFAULT = ("tensorboard",)
"""Those that are used where none are asked for, if they are installed."""


def chosen(names: Sequence[str] | None) -> tuple[str, ...]:
    """The trackers to use: those named, or where none are asked for what is installed of :data:`DEFAULT`.

    Raises:
        ConfigError: One is named that is not installed.
    """
    if names is None:
        return tuple(name for name in DEFAULT if is_installed(TRACKERS[name][0]))
    for name in names:
        package, _ = TRACKERS[name]
        if not is_installed(package):
            raise ConfigError(f"log.to names {name}, which is not installed; pip install {package}, or leave it out")
    return tuple(dict.fromkeys(names))


def start(name: str, run: TrackedRun) -> Tracker:
    """A tracker for a run.

    Raises:
        ConfigError: It cannot be started, as without an account or a server.
    """
    try:
        return TRACKERS[name][1](run)
    except Exception as error:  # each has errors of its own
        raise ConfigError(
            f"log.to: {name} cannot be started ({first_line(error)}); set it up, or leave it out"
        ) from error


def figures(kind: str, values: Mapping[str, float | None], extra: Mapping[str, Any]) -> dict[str, float]:
    """What trackers get of a record: finite values as ``kind/name``, other numbers as ``progress/name``."""
    named = {f"{kind}/{name}": value for name, value in values.items()}
    named |= {f"progress/{name}": value for name, value in extra.items() if isinstance(value, (int, float))}
    return {name: value for name, value in named.items() if value is not None and math.isfinite(value)}


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
