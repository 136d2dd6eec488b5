# SPDX-License-Identifier: Apache-2.0
"""A recipe applied to photographs in files; the photographs stay as they are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ldie.errors import ConfigError, DataError
from ldie.files import first_line, is_file, make_folder, write_text
from ldie.tasks.detection.images import check_regular, one_line_errors
from ldie.tasks.detection.pixels import to_pixels, turned_upright
from ldie.tasks.editing.pages.before_after import before_and_after, picture_link
from ldie.tasks.editing.photographs.photos import Photo, read_photo, write_photo
from ldie_ext import Recipe
from ldie_ext.ops.editing.regions import is_same_aspect

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the upright photograph, the last ones outside."""


@dataclass(frozen=True)
class Application:
    """What is to be done to each photograph, and where the results go."""

    recipe: Recipe
    out: Path
    strength: float = 1.0
    steps: int | None = None
    """How many, from the first on; None: all."""
    every_step: bool = False
    """Write the result after each step, too."""
    page: bool = False
    """Write a page with before and after."""
    heading: str = ""
    """Of the page, beside the photograph's name."""
    notes: tuple[str, ...] = ()
    """On the page, one for each step."""
    mask: Tensor | None = None
    """bool [H, W]: the region to edit."""
    box: Box | None = None
    """The region to edit; of both, what is in both."""

    @property
    def count(self) -> int:
        """How many steps are done."""
        return len(self.recipe.steps) if self.steps is None else self.steps

    def result_of(self, file: Path) -> Path:
        """Where the edited photograph goes."""
        return self.out / file.name

    def page_of(self, file: Path) -> Path:
        """Where the page goes."""
        return self.out / f"{file.name}.html"

    def steps_of(self, file: Path) -> list[Path]:
        """Where the results after each step go."""
        folder, digits = self.out / f"{file.name}.steps", len(str(self.count))
        names = [step.name for step in self.recipe.steps[: self.count]]
        return [folder / f"{k:0{digits}}_{name}{file.suffix}" for k, name in enumerate(names, 1)]

    def targets(self, file: Path) -> list[Path]:
        """All that is written for a photograph."""
        pages = [self.page_of(file)] if self.page else []
        return [self.result_of(file), *pages, *(self.steps_of(file) if self.every_step else [])]


@dataclass(frozen=True)
class Times:
    """Seconds that a photograph took."""

    edit: float
    files: float


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        DataError: It is none that can be applied; one line says why.
    """
    try:
        if path.exists() and not is_file(path):  # reading a pipe waits for ever
            raise DataError(f"{path}: not a recipe (no regular file); give a recipe file")
        return Recipe.load(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such recipe; correct the name or restore the file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a recipe file") from error
    except ValueError as error:
        raise DataError(first_line(error)) from error


def read_region(path: Path) -> Tensor:
    """A region to edit, bool [H, W]: true where a gray picture is at least half white.

    Raises:
        DataError: It cannot be read.
    """
    with one_line_errors(path):
        check_regular(path)
        with Image.open(path) as image:
            colors = to_pixels(turned_upright(image)[0]).permute(1, 2, 0).numpy()
        return torch.from_numpy(np.asarray(Image.fromarray(colors).convert("L")) >= 128)


def check_targets(targets: Iterable[Path], read: Iterable[Path]) -> None:
    """Checks that nothing that is read would be written over.

    Args:
        targets: All files that are to be written.
        read: All that are read.

    Raises:
        ConfigError: Something would.
    """
    kept = {_identity(path): path for path in read if path.exists()}
    for target in targets:
        if target.exists() and _identity(target) in kept:
            raise ConfigError(f"--out must not lead to {kept[_identity(target)]}, which is read; name another folder")


def apply_to_file(application: Application, file: Path) -> Times:
    """Edits one photograph and writes what is asked for; see :func:`apply_to_photo`.

    Raises:
        DataError: The photograph cannot be read, or recipe or region do not fit it.
    """
    started = time.perf_counter()
    photo = read_photo(file)
    read = time.perf_counter() - started
    times = apply_to_photo(application, photo)
    return Times(times.edit, times.files + read)


def apply_to_photo(application: Application, photo: Photo) -> Times:
    """Edits a photograph that was read; either all of it is computed, or nothing written.

    Raises:
        DataError: Recipe or region do not fit it.
    """
    started, file = time.perf_counter(), photo.path
    if application.mask is not None:
        check_mask(application.mask, photo)
    each = (application.every_step or application.page) and application.count > 0
    kept, pictures = [], []
    for count in range(1, application.count + 1) if each else [application.count]:
        edited = _edited(application, photo, count)
        if application.every_step:
            kept.append(edited)
        if application.page:
            pictures.append(picture_link(edited))
    done = time.perf_counter()
    for target in application.targets(file):
        make_folder(target.parent)
    write_photo(photo, edited, application.result_of(file))
    for path, pixels in zip(application.steps_of(file), kept):
        write_photo(photo, pixels, path)
    if application.page:
        steps, notes = application.recipe.steps[: application.count], application.notes
        title = ": ".join(filter(None, (file.name, application.heading)))
        write_text(application.page_of(file), before_and_after(title, photo.pixels, pictures, steps, notes))
    return Times(done - started, time.perf_counter() - done)


def check_mask(mask: Tensor, photo: Photo) -> None:
    """Raises a DataError for a mask of another aspect than a photograph's."""
    if not is_same_aspect((mask.shape[0], mask.shape[1]), photo.size):
        wanted, found = (f"{height} x {width}" for height, width in (photo.size, mask.shape))
        raise DataError(f"{photo.path}: --mask must have the photograph's aspect, {wanted}, got {found}")


def check_box(box: Box, photo: Photo) -> None:
    """Raises a DataError for a box that is not inside a photograph."""
    height, width = photo.size
    if box[2] > width or box[3] > height:
        raise DataError(f"{photo.path}: is {width} pixels wide and {height} high; the box must lie in it")


def _edited(application: Application, photo: Photo, count: int) -> NDArray[Any]:
    """The photograph after so many steps."""
    try:
        edited = application.recipe.apply(
            photo.pixels, strength=application.strength, steps=count, region=application.mask
        )
    except (RuntimeError, ValueError) as error:  # a RuntimeError: of an op, whose message says enough
        raise DataError(f"{photo.path}: {first_line(error)}") from error
    return edited if application.box is None else _inside(application.box, photo, edited)


def _inside(box: Box, photo: Photo, edited: NDArray[Any]) -> NDArray[Any]:
    """The edited pixels in a box, and the photograph's around it."""
    x1, y1, x2, y2 = box
    check_box(box, photo)
    if edited.shape != photo.pixels.shape:
        raise DataError(f"{photo.path}: a recipe that changes the size cannot be kept to a box")
    whole = photo.pixels.copy()
    whole[y1:y2, x1:x2] = edited[y1:y2, x1:x2]
    return whole


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
