# SPDX-License-Identifier: Apache-2.0
"""``ldie plan``."""

from __future__ import annotations

import argparse
import time

from ldie.commands.apply import apply_to_files
from ldie.engine.log import configure_console, logger
from ldie.errors import ConfigError
from ldie.tasks.detection.images import files_of
from ldie.tasks.editing.pages.step_words import words
from ldie.tasks.editing.photographs import planning
from ldie.tasks.editing.photographs.apply import Application, check_targets
from ldie.tasks.editing.photographs.photos import check_photo

NEED_A_MASK = ("color_bg", "inpaint_obj")


def plan(options: argparse.Namespace) -> int:
    """Finds the edits between two photographs, and does them to others."""
    configure_console(options.debug)
    _check(options)
    files = files_of([options.apply_to]) if options.apply_to else []
    if len(files) == 1:  # of several, what is wrong with one is said when its turn comes
        check_photo(files[0])
    applied = options.out / "applied"
    check_targets(
        [*planning.targets(options.out), *(applied / file.name for file in files)],
        [options.before, options.after, *options.mask, *files],
    )
    pair = planning.read_pair(options.before, options.after, options.mask)
    if pair.message:
        logger.info("%s", pair.message)
    operators = [name.upper() for name in options.operators]
    small = planning.preview(pair, options.size, operators)
    start = time.perf_counter()
    choices = {} if options.tolerance is None else {"tolerance": options.tolerance}
    found = planning.find_recipe(
        small, operators, method=options.method, max_steps=options.max_steps, seed=options.seed, **choices
    )
    height, width = small.image.shape[1:]
    logger.info("planned on %d x %d pixels in %.1f s", width, height, time.perf_counter() - start)
    recipe = planning.for_photograph(found, pair)
    if small is not pair and (options.full or pair.pixels <= planning.MOST_PIXELS):
        fitted = planning.refitted(recipe, pair)
        before, after = (planning.distances(each, pair)[-1] for each in (recipe, fitted))
        if after < before:
            recipe = fitted
            logger.info("fitted to all pixels: %.5f instead of %.5f", after, before)
        elif fitted is not recipe:
            logger.info("fitted to all pixels: %.5f, not nearer than %.5f, and left out", after, before)
    unedited, *edited = planning.distances(recipe, pair)
    logger.info("mean difference, of values from 0 to 1, before: %.4f", unedited)
    for number, (step, distance) in enumerate(zip(recipe.steps, edited, strict=True), 1):
        logger.info("%d. %s: %.4f", number, words(step, curves=True), distance)
    if not recipe.steps:
        logger.info("no edits: nothing brings the one nearer to the other")
    logger.info("written: %s, %s", *planning.write_plan(recipe, pair, options.out))
    return apply_to_files(Application(recipe, applied), files) if files else 0


def _check(options: argparse.Namespace) -> None:
    """Raises a ConfigError for options that do not go together."""
    local = [name for name in options.operators if name in NEED_A_MASK]
    if local and not options.mask:
        raise ConfigError(f"--mask must be given for {local[0]}, which edits no whole picture")
    if options.tolerance is not None and options.method != "joint":
        raise ConfigError(f"--tolerance must be left out with --method {options.method}; it is of joint")
