# SPDX-License-Identifier: Apache-2.0
"""Sessions of made-up edits as folders of pictures, recipes and one file of records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ldie.errors import DataError
from ldie.files import first_line, scratch_folder
from ldie.tasks.editing.pages.pair_sheet import pair_sheet
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import Scene
from ldie.tasks.editing.synedit.synthesis import LEAST_PART, MOST_PART, Synthesised, synthesise
from ldie_ext import Recipe, RecipeStep, StepExecutor

FORMAT, VERSION = "ldie synthesis", 1
_SHOWN = 32


def write_session(
    scenes: Iterable[tuple[str, Scene]], session: int, out: Path, seed: int, executor: StepExecutor | None = None
) -> int:
    """Writes ``out/images/``, ``out/recipes/``, ``out/records.json`` and ``out/sheet.png``, whole or not at all.

    Args:
        scenes: Names for files, and pictures with their objects.
        session: See :mod:`ldie.tasks.editing.synedit.synthesis`.
        out: A folder that is new or empty.
        seed: Of the edits; those of the n-th scene do not depend on how many there are.
        executor: Does the inpainting of session 0.

    Returns:
        How many edits were written.

    Raises:
        DataError: ``out`` is there already or cannot be written, or there are no scenes.
    """
    try:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise DataError(f"{out}: exists already; remove it or choose another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out) as scratch:
            staged = scratch / "new"
            count = _write(staged, scenes, session, seed, executor)
            staged.rename(out)
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{out}: cannot be written ({reason}); free space or choose another folder") from error
    return count


def _write(
    folder: Path, scenes: Iterable[tuple[str, Scene]], session: int, seed: int, executor: StepExecutor | None
) -> int:
    for name in ("images", "recipes"):
        (folder / name).mkdir(parents=True)
    records: list[dict[str, Any]] = []
    shown: list[tuple[NDArray[np.uint8], NDArray[np.uint8], Recipe]] = []
    for number, (name, scene) in enumerate(scenes):
        title = f"{number:06d}_{name[:60]}"
        source = _save_picture(folder, title, scene.image.numpy())
        for edit in synthesise(scene, session, Draws(seed, number), executor):
            records.append(_record(folder, f"{title}_{edit.kind}", source, scene, edit))
            if len(shown) < _SHOWN:
                shown.append((scene.image.numpy(), edit.target, edit.recipe))
    if not records:
        part = f"{LEAST_PART:.1%} to {MOST_PART:.0%}"
        raise DataError(f"no picture has an object that covers {part} of it; give others, or take session 1")
    content = {"format": FORMAT, "version": VERSION, "session": session, "seed": seed, "records": records}
    (folder / "records.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    pair_sheet(shown, columns=4).save(folder / "sheet.png")
    return len(records)


def _record(folder: Path, title: str, source: str, scene: Scene, edit: Synthesised) -> dict[str, Any]:
    return {
        "kind": edit.kind,
        "input": source,
        "output": _save_picture(folder, title, edit.target),
        "recipe": _save_recipe(folder, title, edit.recipe),
        "objects": [asdict(scene.objects[number]) for number in edit.objects],
        "reverse": _reverse(folder, f"{title}_reverse", edit),
    }


def _reverse(folder: Path, title: str, edit: Synthesised) -> dict[str, Any] | None:
    if edit.reverse is None:
        return None
    step = RecipeStep(edit.reverse.op.name, (edit.reverse.param,))
    height, width = edit.target.shape[:2]
    recipe = Recipe([step], size=(height, width))
    return {
        "recipe": _save_recipe(folder, title, recipe),
        "distance_before": edit.reverse.before,
        "distance_after": edit.reverse.after,
    }


def _save_picture(folder: Path, title: str, pixels: NDArray[np.uint8]) -> str:
    name = f"images/{title}.png"
    Image.fromarray(pixels).save(folder / name)
    return name


def _save_recipe(folder: Path, title: str, recipe: Recipe) -> str:
    name = f"recipes/{title}.json"
    recipe.save(folder / name)
    return name
