# SPDX-License-Identifier: Apache-2.0
"""``ldie recipe export``, ``show`` and ``gallery``."""

from __future__ import annotations

import argparse

from ldie.engine.log import configure_console, logger
from ldie.errors import ConfigError, DataError
from ldie.files import first_line, is_same_file, write_text
from ldie.tasks.editing.pages.step_words import numbers
from ldie.tasks.editing.photographs.apply import check_targets, load_recipe
from ldie.tasks.editing.photographs.gallery import targets, write_gallery
from ldie.tasks.editing.photographs.photos import read_photo


def recipe(options: argparse.Namespace) -> int:
    """Shows a recipe, writes it as a .cube file, or shows what all operators do."""
    configure_console(options.debug)
    {"export": _export, "show": _show, "gallery": _gallery}[options.action](options)
    return 0


def _export(options: argparse.Namespace) -> None:
    found = load_recipe(options.recipe)
    if is_same_file(options.cube, options.recipe):
        raise ConfigError(f"OUT must be another file than {options.recipe}, which stays as it is")
    try:
        text = found.to_cube(options.size, strength=options.strength)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{options.recipe}: {first_line(error)}") from error
    write_text(options.cube, text)
    logger.info("written: %s", options.cube)


def _show(options: argparse.Namespace) -> None:
    found = load_recipe(options.recipe)
    size = "an image of any size" if found.size is None else f"{found.size[0]} x {found.size[1]} pixels"
    count = 0 if found.masks is None else len(found.masks)
    print(f"recipe of version {found.version}, {len(found.steps)} steps, {count} masks, made for {size}")
    for number, step in enumerate(found.steps, 1):
        print(f"{number:3} {step.name:14} {numbers(step)}")


def _gallery(options: argparse.Namespace) -> None:
    check_targets(targets(options.out), [options.photo])
    photo = read_photo(options.photo)
    logger.info("written: %s", write_gallery(photo, options.out))
