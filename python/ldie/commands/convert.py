# SPDX-License-Identifier: Apache-2.0
"""``ldie convert``."""

from __future__ import annotations

import argparse

from ldie.engine.log import configure_console, logger
from ldie.tasks.detection.formats import convert as convert_data


def convert(options: argparse.Namespace) -> int:
    """Writes a data set of another format in COCO's layout."""
    configure_console(options.debug)
    for split, found in convert_data(options.source, options.out).items():
        logger.info("%s: %s", split, found)
    logger.info("written: %s", options.out)
    return 0
