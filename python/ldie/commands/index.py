# SPDX-License-Identifier: Apache-2.0
"""``ldie index``."""

from __future__ import annotations

import argparse

from ldie.engine.log import configure_console, logger
from ldie.errors import ConfigError
from ldie.files import is_folder, make_folder
from ldie.tasks.editing.pages.run_index import write_index


def index(options: argparse.Namespace) -> int:
    """Writes a page with the metrics of several runs and the way to each run's own page."""
    configure_console(options.debug)
    if is_folder(options.out):
        raise ConfigError(f"--out must be a file, got the folder {options.out}; name a file in it")
    make_folder(options.out.parent)
    write_index(options.runs, options.out)
    logger.info("%d runs: %s", len(options.runs), options.out)
    return 0
