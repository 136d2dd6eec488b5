# SPDX-License-Identifier: Apache-2.0
"""``ldie export``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.commands.common import open_data, run_folder, with_data
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.engine.environment import versions
from ldie.engine.log import configure_console
from ldie.errors import ConfigError
from ldie.export.write import find_format, write
from ldie.files import is_same_file
from ldie.inference import Predictor, load_checkpoint


def export(options: argparse.Namespace) -> int:
    """Writes what a checkpoint's model computes as a graph in a file of another format, compared with the model."""
    configure_console(options.debug)
    form = find_format(options.format)
    path = checkpoint.find_weights(options.checkpoint)
    if is_same_file(options.out, path):
        raise ConfigError(f"--out must be another file than {path}, which stays as it is")
    predictor = load_checkpoint(path, torch.device("cpu"))
    model = predictor.model
    inputs = _inputs(predictor, path, options.data, options.batch_size) if options.data else ()
    exportable = model.exportable(options.size, options.batch_size, inputs)
    origin = {"system": predictor.system.name, "step": predictor.step, "versions": versions()}
    config = to_dict(model.config)
    parts = {name: config[name] for name in ("model", "input", "test") if name in config}  # others name folders
    write(exportable, form, options.out, {**exportable.facts, **origin, "config": parts})
    return 0


def _inputs(predictor: Predictor, path: Path, data: str, count: int) -> Sequence[Any]:
    """The first of the data to evaluate on, as the model takes it."""
    task = predictor.system.task
    config = dataclasses.replace(with_data(predictor.model.config, data), output_dir=str(run_folder(path)))
    (val_set,) = open_data(task, config, [config.dataset.val])
    return task.inputs([val_set[i] for i in range(min(count, len(val_set)))])
