# SPDX-License-Identifier: Apache-2.0
"""``ldie plans``."""

from __future__ import annotations

import argparse
from statistics import fmean

from ldie.engine.log import configure_console, logger
from ldie.tasks.editing.published.plan_pairs import plan_pairs
from ldie.tasks.editing.published.published_folder import open_published


def plans(options: argparse.Namespace) -> int:
    """Plans the pairs of a split, so that a model can learn from the steps."""
    configure_console(options.debug)
    dataset = open_published(
        options.data, options.split, mode=options.mode, size=options.size, splits=options.splits
    )  # fmt: skip
    found = plan_pairs(
        dataset,
        options.out,
        operators=[name.upper() for name in options.operators],
        max_steps=options.max_steps,
        method=options.method,
    )
    ends = [found.plans[pair].distances for pair in dataset.pairs()]
    steps = fmean(len(distances) - 1 for distances in ends)
    before, after = fmean(distances[0] for distances in ends), fmean(distances[-1] for distances in ends)
    logger.info("%d pairs, %.1f steps each: mean difference %.4f, after them %.4f", len(ends), steps, before, after)
    logger.info("written: %s", options.out)
    return 0
