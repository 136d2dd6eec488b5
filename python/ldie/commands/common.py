# SPDX-License-Identifier: Apache-2.0
"""What several commands need: data and folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.config import RunConfig, merge
from ldie.contract import Task
from ldie.engine import checkpoint, distributed
from ldie_ext.memory import keep_pages


def chosen_device(name: str | None) -> torch.device:
    """The device that ``--device`` names. A CPU's big tensors come from kept pages: the process is all our own."""
    device = distributed.local_device(name)
    if device.type == "cpu":
        keep_pages()
    return device


def with_data(config: RunConfig, root: str | None, split: str | None = None) -> RunConfig:
    """The configuration with the data that ``--data`` names, if it does, and the part to evaluate on."""
    given = {"root": root, "val": split}
    return merge(config, {"dataset": {key: value for key, value in given.items() if value is not None}})


def open_data(task: Task, config: RunConfig, splits: Sequence[str]) -> list[Any]:
    """Splits of the configured data; rank 0 makes first what has to be made."""
    with distributed.first_rank_first():
        task.prepare(config)
    return task.open(config, splits)


def run_folder(weights: Path) -> Path:
    """The work folder a checkpoint lies in, or the folder of a file that was moved elsewhere."""
    return weights.parent.parent if weights.parent.name == checkpoint.FOLDER else weights.parent
