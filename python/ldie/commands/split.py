# SPDX-License-Identifier: Apache-2.0
"""``ldie split``."""

from __future__ import annotations

import argparse

from ldie.engine.log import configure_console, logger
from ldie.tasks.editing.published.leakage import write_leak_free


def split(options: argparse.Namespace) -> int:
    """Says which input images a data set has on both sides of its splits, and writes splits that have none so."""
    configure_console(options.debug)
    before, after = write_leak_free(options.data, options.out, options.seed, options.ratios)
    for title, counts in (("as published", before), ("leak-free", after)):
        for each in counts:
            part = f" ({each.shared / each.pairs:.1%})" if each.shared else ""
            logger.info(
                "%s: %s, %s: %d of %d pairs have the input image of a training pair%s",
                title, each.split, each.mode, each.shared, each.pairs, part,
            )  # fmt: skip
    logger.info("written: %s", options.out)
    return 0
