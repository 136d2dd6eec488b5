# SPDX-License-Identifier: Apache-2.0
"""The edits between two photographs in files: found on a small part of their pixels, shown, and written as a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ldie.errors import DataError
from ldie.files import first_line, make_folder, write_text, write_whole
from ldie.tasks.editing.photographs.apply import read_region
from ldie.tasks.editing.photographs.photos import Photo, read_photo
from ldie_ext import EditOp, Recipe, RecipeExecutor, fit_edits, plan_edits, rle_encode
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS
from ldie_ext.ops.editing.quantisation import as_unit, to_bytes
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS
from ldie_ext.ops.editing.regions import is_same_aspect, region_at

_KINDS = {**EDIT_KINDS, **RecipeExecutor().kinds}
RECIPE, PICTURE = "plan.json", "plan.png"
MOST_PIXELS = 4_000_000
"""Up to which a photograph's edits are fitted once more to all of its pixels unasked: seconds, not minutes."""
_WINDOWS = 5
"""Along each side and each mask's edge, the places that are looked at for a part of the picture with many colours."""
_ENOUGH = 1 / 8
"""Of a window's pixels, as many inside or outside of a mask as more are no better."""
_GAP, _CAPTION, _PICTURE_SIDE = 8, 18, 480


@dataclass(frozen=True)
class PhotoPair:
    """Two photographs of one size, and regions that edits may be local to."""

    before: Photo
    image: Tensor
    """uint8 or, of 16 bits, float [3, H, W]."""
    target: Tensor
    """The same of the photograph after the edits."""
    masks: Tensor | None = None
    """bool [M, H, W]."""
    message: str = ""
    """What was done to make them fit."""

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.image[0].numel()

    def part(self, rows: slice, columns: slice) -> PhotoPair:
        """Some of the pixels."""
        image, target = (each[:, rows, columns] for each in (self.image, self.target))
        masks = None if self.masks is None else self.masks[:, rows, columns]
        return PhotoPair(self.before, image, target, masks)


def read_pair(before: Path, after: Path, masks: Sequence[Path] = ()) -> PhotoPair:
    """Reads two photographs; where one has more pixels it is reduced to the other's size.

    Raises:
        DataError: A file cannot be read, or they differ in more than size.
    """
    first, second = read_photo(before), read_photo(after)
    if not is_same_aspect(first.size, second.size):
        raise DataError(
            f"{after}: is {_size(second.size)}, but {before} {_size(first.size)}; crop one to what the other shows"
        )
    size = min(first.size, second.size)
    image, target = (_as_tensor(photo.pixels, size) for photo in (first, second))
    message = "" if first.size == second.size else f"compared at {_size(size)}, the smaller one's size"
    regions = [_region(path, size) for path in masks]
    return PhotoPair(first, image, target, torch.stack(regions) if regions else None, message)


def preview(pair: PhotoPair, side: int, operators: Sequence[str]) -> PhotoPair:
    """A small pair between which the edits are the same, of at most ``side`` pixels each way.

    Where each pixel is edited by itself, or an object is filled in from afar, every n-th pixel is one. Edits that read
    neighbours need these: of some windows of the photograph, one where it is edited, with enough of the inside and the
    outside of the most masks, and whose colours vary the most.
    """
    height, width = pair.image.shape[1:]
    if max(height, width) <= side:
        return pair
    if not any(_KINDS[name].halo for name in operators):
        step = -(-max(height, width) // side)
        rows, columns = (slice(min(step // 2, (length - 1) // 2), None, step) for length in (height, width))
        return pair.part(rows, columns)
    windows = (pair.part(slice(y, y + side), slice(x, x + side)) for y, x in _corners(pair, side))
    return max(windows, key=_worth)


def distances(recipe: Recipe, pair: PhotoPair) -> list[float]:
    """How far from the target, mean absolute difference of values from 0 to 1, before all and after each step."""
    results = (recipe.apply(pair.image, steps=n) for n in range(len(recipe.steps) + 1))
    return [float((as_unit(result) - as_unit(pair.target)).abs().mean()) for result in results]


def find_recipe(pair: PhotoPair, operators: Sequence[str], **options: Any) -> Recipe:
    """The best plan of :func:`ldie_ext.plan_edits`.

    Raises:
        DataError: What was asked for does not go together; one line says why.
    """
    executor = None if all(name in EDIT_KINDS for name in operators) else RecipeExecutor()
    try:
        return plan_edits(pair.image, pair.target, pair.masks, operators=list(operators), executor=executor, **options)[
            0
        ]
    except (ValueError, ModuleNotFoundError) as error:
        raise DataError(first_line(error)) from error


def for_photograph(recipe: Recipe, pair: PhotoPair) -> Recipe:
    """A recipe that was found on a part of a pair, with the photograph's size, masks and hash."""
    local = any(step.mask is not None for step in recipe.steps)
    masks = rle_encode(pair.masks) if local and pair.masks is not None else None
    size = (pair.image.shape[1], pair.image.shape[2])
    return Recipe(recipe.steps, masks, size, Recipe.hash_of(pair.image))


def refitted(recipe: Recipe, pair: PhotoPair) -> Recipe:
    """The same steps with their parameters fitted to all pixels of the pair, from those that they have on.

    Steps of an executor, which have none, may come first and stay so; with one after others the whole recipe stays.
    """
    lead = next((k for k, step in enumerate(recipe.steps) if step.name in EDIT_KINDS), len(recipe.steps))
    edits = recipe.steps[lead:]
    if not edits or any(step.name not in EDIT_KINDS for step in edits):
        return recipe
    rows = [EDIT_OPERATORS[EditOp[step.name]].row(torch.tensor(step.params)) for step in edits]
    ops = torch.tensor([[[EditOp[step.name] for step in edits]]])
    index = torch.tensor([[[-1 if step.mask is None else step.mask for step in edits]]])
    exclusive = torch.tensor([[[step.exclusive for step in edits]]])
    places = (None, None, None) if pair.masks is None else (pair.masks, index, exclusive)
    images = (recipe.apply(as_unit(pair.image), steps=lead)[None], as_unit(pair.target)[None])
    found = fit_edits(*images, ops, *places, init=torch.stack(rows)[None, None])
    steps = [
        replace(step, params=tuple(row[: len(step.params)].tolist()))
        for step, row in zip(edits, found.params[0, 0], strict=True)
    ]
    return replace(recipe, steps=[*recipe.steps[:lead], *steps])


def targets(folder: Path) -> tuple[Path, Path]:
    """Where :func:`write_plan` puts the recipe and the picture."""
    return folder / RECIPE, folder / PICTURE


def write_plan(recipe: Recipe, pair: PhotoPair, folder: Path) -> tuple[Path, Path]:
    """Writes the recipe and a picture of both photographs and what the recipe makes of the first."""
    text, sheet = targets(folder)
    make_folder(folder)
    write_text(text, recipe.to_text())
    pictures = {"before": pair.image, "planned": recipe.apply(pair.image), "after": pair.target}
    shown = _side_by_side({name: _small(picture) for name, picture in pictures.items()})
    write_whole(sheet, lambda temporary: shown.save(temporary, "PNG"))
    return text, sheet


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} pixels wide and {size[0]} high"


def _as_tensor(pixels: NDArray[Any], size: tuple[int, int]) -> Tensor:
    values = pixels.astype(np.float32) / 65535 if pixels.dtype == np.uint16 else pixels
    image = torch.from_numpy(np.require(values, requirements="W")).permute(2, 0, 1).contiguous()
    if tuple(image.shape[1:]) == size:
        return image
    reduced = torch.nn.functional.interpolate(as_unit(image)[None], size, mode="bilinear", antialias=True)[0]
    return reduced.clamp(0, 1)


def _region(path: Path, size: tuple[int, int]) -> Tensor:
    region = read_region(path)
    try:
        return region_at(region, size, torch.device("cpu"))
    except ValueError:
        found = (region.shape[0], region.shape[1])
        raise DataError(
            f"{path}: is {_size(found)}, but the photograph {_size(size)}; give a mask of its aspect"
        ) from None


def _corners(pair: PhotoPair, side: int) -> list[tuple[int, int]]:
    """Where windows begin: spread evenly over the picture, and around some places of each mask's edge."""
    rooms = [max(0, length - side) for length in pair.image.shape[1:]]
    rows, columns = (sorted({room * k // (_WINDOWS - 1) for k in range(_WINDOWS)}) for room in rooms)
    corners = [(y, x) for y in rows for x in columns]
    for mask in () if pair.masks is None else pair.masks:
        edge = torch.cat([(mask[1:] ^ mask[:-1]).nonzero(), (mask[:, 1:] ^ mask[:, :-1]).nonzero()])
        some = [len(edge) * k // _WINDOWS for k in range(_WINDOWS)] if len(edge) else []
        corners += [_corner(centre, rooms, side) for centre in edge[some].tolist()]
    return corners


def _corner(centre: list[int], rooms: list[int], side: int) -> tuple[int, int]:
    y, x = (min(max(place - side // 2, 0), room) for place, room in zip(centre, rooms, strict=True))
    return y, x


def _worth(window: PhotoPair) -> tuple[bool, float, float]:
    """What makes a window better than another, the most important first."""
    edited = not torch.equal(window.image, window.target)
    inside = torch.zeros(0) if window.masks is None else window.masks.float().mean((1, 2))
    both = torch.minimum(inside, 1 - inside).clamp(max=_ENOUGH)
    return edited, float(both.sum()), float(window.image.float().flatten(1).std(1).sum())


def _small(image: Tensor) -> Image.Image:
    picture = Image.fromarray(to_bytes(image).permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    return picture


def _side_by_side(pictures: dict[str, Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures.values()) + _GAP * (len(pictures) + 1)
    height = max(picture.height for picture in pictures.values()) + _CAPTION + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, x = ImageDraw.Draw(sheet), _GAP
    for name, picture in pictures.items():
        draw.text((x, 3), name, fill="black")
        sheet.paste(picture, (x, _CAPTION))
        x += picture.width + _GAP
    return sheet
