# SPDX-License-Identifier: Apache-2.0
"""``ldie edit``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldie.commands.apply import each_photograph
from ldie.commands.common import chosen_device
from ldie.engine import checkpoint
from ldie.engine.log import configure_console, logger
from ldie.errors import CheckpointError
from ldie.inference import load_checkpoint
from ldie.tasks.detection.images import files_of
from ldie.tasks.editing.model import StepModel
from ldie.tasks.editing.photographs.apply import check_targets, read_region
from ldie.tasks.editing.photographs.decision import take_order
from ldie.tasks.editing.photographs.photo_edits import PhotoEdits
from ldie.tasks.editing.photographs.photos import check_photo, read_photo


def edit(options: argparse.Namespace) -> int:
    """Edits a photograph, or each of those in a folder, as a request in words asks for."""
    configure_console(options.debug)
    weights, files = _weights(options.checkpoint), files_of([options.photos])
    others = [path for path in (weights, options.mask) if path is not None]
    model = load_checkpoint(weights, chosen_device(options.device)).editor
    order = take_order(model, options.request, with_region=options.mask is not None or options.box is not None)
    edits = PhotoEdits(
        order=order,
        out=options.out,
        strength=options.strength,
        undo=options.undo,
        every_step=options.steps,
        page=options.page,
        mask=None if options.mask is None else read_region(options.mask),
        box=options.box,
        read=[*others, *files],
    )
    check_targets((target for file in files for target in edits.targets(file)), edits.read)
    for remark in order.remarks:
        logger.warning("%s", remark)
    return each_photograph(files, lambda file: _edit(model, edits, file, options.dry_run), "edit")


def _weights(path: Path) -> Path:
    try:
        return checkpoint.find_weights(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; make train-editing makes one in runs/editing") from error


def _edit(model: StepModel, edits: PhotoEdits, file: Path, dry_run: bool) -> None:
    check_photo(file)
    photo = read_photo(file)
    decision = edits.decide(model, photo)
    logger.info("%s:\n%s", file, "\n".join(f"  {line}" for line in decision.lines))
    if not dry_run:
        times = edits.write(photo, decision)
        logger.info("  edit %.2f s, written: %s, %s", times.edit, edits.out / file.name, edits.recipe_of(file).name)
