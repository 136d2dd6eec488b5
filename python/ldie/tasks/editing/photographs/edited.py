# SPDX-License-Identifier: Apache-2.0
"""Pictures in memory, or in files, edited by words: ``ldie.load("runs/editing").edit(image, "make it warmer")``."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ldie.errors import ConfigError, DataError
from ldie.tasks.detection.images import to_image
from ldie.tasks.editing.model import StepModel
from ldie.tasks.editing.photographs.decision import Decision, decide, take_order
from ldie.tasks.editing.photographs.photos import read_photo
from ldie_ext import Recipe
from ldie_ext.ops.editing.regions import is_same_aspect, nearest_pixels

Region = Tensor | NDArray[np.bool_] | tuple[int, int, int, int]
"""Bool [H, W] of the picture's aspect, or a box x1, y1, x2, y2 in its pixels, the last ones outside."""


@dataclass(frozen=True)
class Edited:
    """A picture that was edited, and how."""

    image: Any
    """Of the kind that was given: a Pillow image, array or tensor; of a file, an array [H, W, 3], uint8 or uint16."""
    recipe: Recipe
    """The steps decided on, in full: applied again, to other pictures too, weaker or in part."""
    steps: tuple[str, ...]
    """In words; none where the editor decides to do nothing."""
    words: tuple[str, ...]
    """Of the request, as they were read."""
    unknown: tuple[str, ...]
    """Those of them that the editor does not know."""
    cut: tuple[str, ...]
    """Words of the request behind the last that was read."""
    attention: Tensor | None
    """float32 [K, W]: how much of each step came from each word, rows add up to 1; None where it does not tell."""


def edited(model: StepModel, image: Any, request: str, strength: float = 1.0, region: Region | None = None) -> Edited:
    """See :meth:`ldie.inference.Predictor.edit`."""
    if not isinstance(request, str):
        raise ConfigError(f"request must be a text, got {type(request).__name__}")
    order = take_order(model, request, with_region=region is not None)
    given = read_photo(Path(image)).pixels if isinstance(image, (str, Path)) else image
    pixels = _pixels(given)
    decision = decide(model, pixels, order, _inside(region, (pixels.shape[0], pixels.shape[1])))
    return Edited(
        _done(decision, given, pixels, strength),
        decision.recipe,
        decision.steps,
        decision.words,
        order.encoded.unknown,
        order.encoded.cut,
        decision.attention,
    )


def _pixels(given: Any) -> NDArray[Any]:
    """uint8 or uint16 [H, W, 3]."""
    if isinstance(given, np.ndarray) and given.dtype == np.uint16 and given.ndim == 3 and given.shape[2] == 3:
        return given
    if isinstance(given, Tensor) and given.is_floating_point() and not bool(((given >= 0) & (given <= 1)).all()):
        raise DataError("an image of floats must be from 0 to 1, got others; divide it by 255, or clamp it")
    return np.ascontiguousarray(to_image(given).permute(1, 2, 0).numpy())


def _done(decision: Decision, given: Any, pixels: NDArray[Any], strength: float) -> Any:
    """What the recipe makes of a picture, as one of the kind that was given."""
    exact = isinstance(given, Tensor) and given.is_floating_point()  # floats are not rounded to bytes
    try:
        result = decision.recipe.apply(given if exact else pixels, strength=strength)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if isinstance(given, Image.Image):
        return Image.fromarray(result)
    if isinstance(given, Tensor) and not exact:
        return torch.from_numpy(result).permute(2, 0, 1).contiguous().to(given.device)
    return result


def _inside(region: Region | None, size: tuple[int, int]) -> Tensor | None:
    """Where edits act, bool [H, W] of the picture's size."""
    if region is None:
        return None
    if isinstance(region, tuple):
        inside = _box(region, size)
    elif not isinstance(region, (Tensor, np.ndarray)):
        raise ConfigError(f"region must be bool [H, W] or a box x1, y1, x2, y2, got {type(region).__name__}")
    else:
        inside = torch.as_tensor(region).cpu()
        if inside.dtype != torch.bool or inside.dim() != 2 or 0 in inside.shape:
            raise ConfigError(f"region must be bool [H, W] or a box, got {inside.dtype} {list(inside.shape)}")
        if not is_same_aspect((inside.shape[0], inside.shape[1]), size):
            raise ConfigError(f"region must have the picture's aspect, {list(size)}, got {list(inside.shape)}")
        inside = nearest_pixels(inside[None], size)[0]
    if not inside.any():
        raise ConfigError("region must have at least one pixel in it, got none")
    return inside


def _box(box: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    whole = len(box) == 4 and all(isinstance(value, Integral) for value in box)
    if not whole or not (0 <= box[0] < box[2] <= size[1] and 0 <= box[1] < box[3] <= size[0]):
        raise ConfigError(f"region must be x1, y1, x2, y2 inside of {size[1]} x {size[0]} pixels, got {box}")
    inside = torch.zeros(size, dtype=torch.bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    return inside
