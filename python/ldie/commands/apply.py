# SPDX-License-Identifier: Apache-2.0
"""``ldie apply``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ldie import console
from ldie.engine.log import configure_console, logger, progress_bar
from ldie.errors import ConfigError
from ldie.tasks.detection.images import files_of
from ldie.tasks.editing.photographs.apply import Application, apply_to_file, check_targets, load_recipe, read_region
from ldie.tasks.editing.photographs.photos import check_photo
from ldie_ext.memory import keep_pages


def apply(options: argparse.Namespace) -> int:
    """Applies a recipe to a photograph or to those in a folder, and writes the results into another folder."""
    configure_console(options.debug)
    recipe, files = load_recipe(options.recipe), files_of([options.photos])
    if options.undo > len(recipe.steps):
        raise ConfigError(f"--undo must be at most {len(recipe.steps)}, the recipe's steps, got {options.undo}")
    application = Application(
        recipe=recipe,
        out=options.out,
        strength=options.strength,
        steps=len(recipe.steps) - options.undo,
        every_step=options.steps,
        page=options.page,
        mask=None if options.mask is None else read_region(options.mask),
        box=options.box,
    )
    others = [path for path in (options.recipe, options.mask) if path is not None]
    check_targets((target for file in files for target in application.targets(file)), [*others, *files])
    keep_pages()
    return apply_to_files(application, files)


def apply_to_files(application: Application, files: list[Path]) -> int:
    """Edits photographs by a recipe; see :func:`each_photograph`."""
    return each_photograph(files, lambda file: _apply(application, file), "apply")


def each_photograph(files: list[Path], edit: Callable[[Path], None], name: str) -> int:
    """Edits photographs; what is wrong with one is said, and the others are still edited. Returns the exit code."""
    if len(files) == 1:
        edit(files[0])
        return 0
    failed = 0
    with progress_bar(len(files), 0, name) as bar:
        for file in files:
            try:
                edit(file)
            except BrokenPipeError:
                raise
            except Exception as error:
                message = console.one_line(error)
                if message is None:
                    raise
                console.say(message)
                failed += 1
            bar.update()
    if failed:
        console.say(f"{failed} of {len(files)} photographs are not edited")
    return int(failed > 0)


def _apply(application: Application, file: Path) -> None:
    check_photo(file)
    times = apply_to_file(application, file)
    target = application.result_of(file)
    logger.info("%s: edit %.2f s, read/write %.2f s, written: %s", file, times.edit, times.files, target)
