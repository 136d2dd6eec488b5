# SPDX-License-Identifier: Apache-2.0
"""``ldie train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldie.commands.common import chosen_device, open_data, with_data
from ldie.config import RunConfig, load_yaml, merge, override, to_yaml
from ldie.console import INTERRUPTED
from ldie.contract import System
from ldie.engine import checkpoint, distributed
from ldie.engine.log import configure_console
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError
from ldie.files import make_folder
from ldie.inference import saved_config
from ldie.systems import get_system


def train(options: argparse.Namespace) -> int:
    """Trains a system, or goes on with a run."""
    device = chosen_device(options.device)
    with distributed.process_group(device):
        configure_console(options.debug)
        system = get_system(options.system)
        config = _configure(system, options)
        if options.print_config:
            print(to_yaml(config), end="")
            return 0
        work_dir = Path(config.output_dir)
        make_folder(work_dir)
        train_set, val_set = open_data(system.task, config, (config.dataset.train, config.dataset.val))
        # no name for it: what a recipe replicated holds the process group, which goes down at the end of this block
        metrics = Trainer(
            system, config, train_set, val_set, device, options.resume, options.overwrite, options.profile
        ).run()
    return INTERRUPTED if metrics is None else 0


def _configure(system: System, options: argparse.Namespace) -> RunConfig:
    work_dir = options.work_dir or Path("runs") / options.system
    if options.resume:
        config = _resumed_config(system, work_dir, options.system)
    else:
        config = _preset_and_file(system, options.preset, options.config)
    given = {"output_dir": str(work_dir)} | ({} if options.seed is None else {"seed": options.seed})
    return override(merge(with_data(config, options.data), given), options.set)


def _preset_and_file(system: System, preset: str | None, file: Path | None) -> RunConfig:
    """A preset with a YAML file on top, which may name the preset itself; that of the command line wins."""
    values = load_yaml(file) if file else {}
    named = [values.pop(key) for key in list(values) if str(key).lower() == "preset"]
    return merge(system.preset(preset or (str(named[0]) if named else None)), values)


def _resumed_config(system: System, work_dir: Path, name: str) -> RunConfig:
    path = checkpoint.newest(work_dir)
    header, _ = checkpoint.load_weights(path)
    if header.system != name:
        raise CheckpointError(f"{path} is of system {header.system}, not {name}; name that one")
    return saved_config(system, header, path)
