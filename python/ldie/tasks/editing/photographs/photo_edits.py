# SPDX-License-Identifier: Apache-2.0
"""Photographs edited by words: each gets its own decision, on a preview, which is then applied to all of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ldie.errors import DataError
from ldie.files import make_folder, write_text
from ldie.tasks.editing.model import StepModel
from ldie.tasks.editing.photographs.apply import (
    Application,
    Box,
    Times,
    apply_to_photo,
    check_box,
    check_mask,
    check_targets,
)
from ldie.tasks.editing.photographs.decision import Decision, Order, decide
from ldie.tasks.editing.photographs.photos import Photo
from ldie_ext import Recipe
from ldie_ext.ops.editing.regions import nearest_pixels


@dataclass(frozen=True)
class PhotoEdits:
    """What is asked of photographs, and where the results go."""

    order: Order
    out: Path
    strength: float = 1.0
    undo: int = 0
    """Steps to leave out, from the last on."""
    every_step: bool = False
    page: bool = False
    mask: Tensor | None = None
    """bool [H, W]: the region to edit, of the photographs' aspect."""
    box: Box | None = None
    """The region to edit; of both, what is in both."""
    read: Sequence[Path] = ()
    """Files that are read and must not be written over."""

    @property
    def is_local(self) -> bool:
        """Whether there is a region."""
        return self.mask is not None or self.box is not None

    def recipe_of(self, file: Path) -> Path:
        """Where the recipe goes."""
        return self.out / f"{file.name}.json"

    def targets(self, file: Path) -> list[Path]:
        """What is written for a photograph, as far as it is known before its steps are."""
        return [*self._application(Recipe([])).targets(file), self.recipe_of(file)]

    def decide(self, model: StepModel, photo: Photo) -> Decision:
        """The steps for a photograph.

        Raises:
            DataError: The region does not fit it or is empty, or no step was decided on, or fewer than are undone.
        """
        decision = decide(model, photo.pixels, self.order, self.region_of(photo))
        count = len(decision.recipe.steps)
        if not count:
            raise DataError(f"{photo.path}: the editor decides on no step for {self.order.request!r}; ask otherwise")
        if self.undo > count:
            raise DataError(f"{photo.path}: --undo must be at most {count}, the steps decided on, got {self.undo}")
        return decision

    def region_of(self, photo: Photo) -> Tensor | None:
        """Bool [H, W], of the photograph's size; None: everywhere.

        Raises:
            DataError: Mask or box do not fit the photograph, or there is nothing in them.
        """
        region = None
        if self.mask is not None:
            check_mask(self.mask, photo)
            region = nearest_pixels(self.mask[None], photo.size)[0]
        if self.box is not None:
            check_box(self.box, photo)
            x1, y1, x2, y2 = self.box
            inside = torch.zeros(photo.size, dtype=torch.bool)
            inside[y1:y2, x1:x2] = True if region is None else region[y1:y2, x1:x2]
            region = inside
        if region is not None and not region.any():
            raise DataError(f"{photo.path}: the region to edit is empty; give a mask with white in it, or a box on it")
        return region

    def write(self, photo: Photo, decision: Decision) -> Times:
        """Edits a photograph and writes all that is asked for, its recipe too."""
        application = self._application(decision.recipe, decision.reasons)
        check_targets(application.targets(photo.path), self.read)
        times = apply_to_photo(application, photo)
        make_folder(self.out)
        write_text(self.recipe_of(photo.path), decision.recipe.to_text())
        return times

    def _application(self, recipe: Recipe, reasons: tuple[str, ...] = ()) -> Application:
        """The region is in the recipe."""
        return Application(
            recipe=recipe,
            out=self.out,
            strength=self.strength,
            steps=max(0, len(recipe.steps) - self.undo),
            every_step=self.every_step,
            page=self.page,
            heading=self.order.request,
            notes=reasons,
        )
