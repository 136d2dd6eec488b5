# SPDX-License-Identifier: Apache-2.0
"""``ldie synth``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from ldie.engine.log import configure_console, logger
from ldie.errors import ConfigError, DataError
from ldie.files import is_folder
from ldie.packages import is_installed
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.editing.synedit.coco_scenes import coco_scenes
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import Scene
from ldie.tasks.editing.synedit.sessions import write_session
from ldie.tasks.editing.synedit.synedit_scene import synedit_scene
from ldie.tasks.editing.synedit.synthesis import usable_objects
from ldie_ext import RecipeExecutor

GENERATED = "synedit"
_GENERATED_SIZE = 128


def synth(options: argparse.Namespace) -> int:
    """Makes up edits of a data set's pictures and writes them with their records."""
    configure_console(options.debug)
    scenes, executor = _scenes(options), None
    if options.session == 0:
        executor = _inpainting_executor()
        scenes = ((name, scene) for name, scene in scenes if usable_objects(scene))
    edits = write_session(islice(scenes, options.count), options.session, options.out, options.seed, executor)
    logger.info("%d edits: %s", edits, options.out)
    return 0


def _inpainting_executor() -> RecipeExecutor:
    if not is_installed("cv2"):
        raise ConfigError(
            "session 0 fills in objects by OpenCV, which is not installed; pip install ldie-ext[inpaint], or take "
            "--session 1"
        )
    return RecipeExecutor()


def _scenes(options: argparse.Namespace) -> Iterator[tuple[str, Scene]]:
    if options.data == GENERATED:
        size = options.size or _GENERATED_SIZE
        return (("synedit", synedit_scene(Draws(options.seed, number, 0), size)) for number in count())
    root = Path(options.data)
    if not is_folder(root):
        raise DataError(f"{root}: no such folder; give {GENERATED} or a folder in COCO's layout (docs/datasets.md)")
    dataset = CocoDataset(root, options.split)
    if options.session == 0 and not dataset.has_masks:
        raise DataError(f"{dataset.annotation_file}: has objects without masks, which session 0 edits; use --session 1")
    return coco_scenes(dataset, options.size)
