# SPDX-License-Identifier: Apache-2.0
"""What several commands need: devices, data, messages of errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.config import RunConfig, merge
from ldie.contract import Task
from ldie.engine import checkpoint, distributed
from ldie.errors import ConfigError, UserError

INTERRUPTED = 130


def one_line(error: Exception) -> str | None:
    """The message of an error that the user can do something about; None for any other."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU is out of memory; lower solver.batch_size or the image size, or use --device cpu"
    if isinstance(error, UserError):
        return _message(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; check the path, its permissions and the space left"
    return None


def _message(error: Exception) -> str:
    """An error's text on one line; of one from a data-loading process, which comes with its traceback, the end."""
    text = str(error)
    if text.startswith("Caught "):
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def choose_device(name: str | None) -> torch.device:
    """The device of this process, seen to work."""
    try:
        device = distributed.local_device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name} cannot be used here; use cpu, or see ldie info") from error
    return device


def with_data(config: RunConfig, root: str | None) -> RunConfig:
    """The configuration with the data that ``--data`` names, if it does."""
    return config if root is None else merge(config, {"dataset": {"root": root}})


def open_data(task: Task, config: RunConfig, splits: Sequence[str]) -> list[Any]:
    """Splits of the configured data; rank 0 makes first what has to be made."""
    with distributed.first_rank_first():
        task.prepare(config)
    return task.open(config, splits)


def run_folder(weights: Path) -> Path:
    """The work folder a checkpoint lies in, or the folder of a file that was moved elsewhere."""
    return weights.parent.parent if weights.parent.name == checkpoint.FOLDER else weights.parent
