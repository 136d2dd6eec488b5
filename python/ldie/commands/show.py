# SPDX-License-Identifier: Apache-2.0
"""``ldie show``."""

from __future__ import annotations

import argparse

from ldie.config import RunConfig
from ldie.engine.log import configure_console
from ldie.files import make_folder
from ldie.tasks import get_task


def show(options: argparse.Namespace) -> int:
    """Draws a data set."""
    configure_console(options.debug)
    task = get_task(options.task)
    make_folder(options.out)
    split = options.split or task.data().train
    data = task.data(root=options.data, train=split, val=split)
    config = RunConfig(dataset=data, output_dir=str(options.out), seed=options.seed)
    task.show(config, split, options.count, options.out)
    return 0
