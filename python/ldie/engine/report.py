# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind for people, whatever its task: metrics, curves, and where everything is."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from ldie.contract import Dataset, Model, Task
from ldie.engine import checkpoint
from ldie.engine.curves import plot_curves
from ldie.engine.evaluation import Evaluation
from ldie.engine.log import MEASURED, logger, read_log
from ldie.files import make_folder, write_text

PICTURES = "pictures"


def summary(metrics: Mapping[str, float]) -> str:
    """Metrics on one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())


def print_table(task: Task, metrics: Mapping[str, float]) -> None:
    """Says all metrics, as the task sets them out."""
    if table := task.table(metrics):
        logger.info("%s", table)


def write_evaluation(folder: Path, task: Task, dataset: Dataset, evaluation: Evaluation, model: Model) -> None:
    """Writes ``metrics.json`` and the task's own report."""
    write_text(folder / "metrics.json", json.dumps(evaluation.metrics, indent=2) + "\n")
    task.report(folder, dataset, evaluation.results, model)


def write_curves(work_dir: Path, headline: Callable[[Mapping[str, float]], Mapping[str, float]]) -> None:
    """Draws ``loss.png`` and ``metrics.png`` from the run's log; names share a panel up to a ``:`` or ``/``.

    Args:
        work_dir: Folder of the run.
        headline: The metrics to draw, of all: :meth:`ldie.contract.Task.headline`.
    """
    panels: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = {
        kind: defaultdict(lambda: defaultdict(list)) for kind in ("train", "eval")
    }
    for record in read_log(work_dir / "log.jsonl"):
        kind, step = record["kind"], record["step"]
        names = record.keys() - {"kind", "step", "epoch", *MEASURED}
        values = {name: record[name] for name in names if record[name] is not None}
        for name, value in sorted((headline(values) if kind == "eval" else values).items()):
            panels[kind][re.split("[:/]", name)[0]][name].append((step, value))
    make_folder(work_dir / PICTURES)
    for kind, name in (("train", "loss.png"), ("eval", "metrics.png")):
        if panels[kind]:
            plot_curves(panels[kind], work_dir / PICTURES / name)


def announce(folder: Path) -> None:
    """Says where everything is."""
    for label, name in (("checkpoints", checkpoint.FOLDER), ("metrics", "metrics.json"), ("pictures", PICTURES)):
        if (folder / name).exists():
            logger.info("%-11s %s", label, folder / name)
