# SPDX-License-Identifier: Apache-2.0
"""From a picture and a request to a recipe: what an editor decides, in words, with the words that it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldie.errors import ConfigError, DataError, short
from ldie.files import first_line
from ldie.packages import is_installed
from ldie.tasks.editing.model import StepModel
from ldie.tasks.editing.pages.before_after import small
from ldie.tasks.editing.pages.step_words import words as step_words
from ldie.tasks.editing.reading import preview, small_region
from ldie.tasks.editing.sample import EditInput
from ldie.tasks.editing.words.asked import Asked, asked
from ldie.tasks.editing.words.rule_actions import things_to_ask_for
from ldie.tasks.editing.words.vocabulary import EncodedRequest
from ldie_ext import Recipe, RecipeStep, rle_encode
from ldie_ext.ops.editing.recipe import MOST_MASK_PIXELS

_ERASE = "INPAINT_OBJ"
_GLANCE = 16
"""A picture is shrunk to so many times the preview's size before the preview is made, which is done in floats."""
_SHARE, _MOST_WORDS = 0.5, 3
"""A step's words are the fewest that together have this share of its attention, and so many at most."""
_MOST_NAMED = 10
"""Words of a request that a message names."""


@dataclass(frozen=True)
class Order:
    """A request that can be done."""

    request: str
    read: str
    """What the model gets of it: ``it`` in place of an object that it has no word for, which is in the region."""
    encoded: EncodedRequest
    """As the model reads that."""
    erases: bool = False
    """Whether it is about taking an object away, which no model is needed for."""

    @property
    def remarks(self) -> list[str]:
        """What of the request is not read, a sentence each."""
        renamed = [f"read as: {self.read}"] if self.read != self.request else []
        notes = {
            "not known, and read as an unknown word": self.encoded.unknown,
            "not read, for numbers mean nothing here": self.encoded.skipped,
            f"not read, as only {len(self.encoded.words)} words are": self.encoded.cut,
        }
        said = [f"{short(dict.fromkeys(words), _MOST_NAMED)}: {note}" for note, words in notes.items() if words]
        return [] if self.erases else [*renamed, *said]


@dataclass(frozen=True)
class Decision:
    """What an editor decided for one picture."""

    recipe: Recipe
    """Its steps; where there is a region, they have it as their mask."""
    words: tuple[str, ...]
    """Of the request, as they were read."""
    attention: Tensor | None
    """float32 [K, W]: how much of each step came from each word; None where the model has no attention."""

    @property
    def steps(self) -> tuple[str, ...]:
        """In words."""
        return tuple(step_words(step).replace("in mask 0", "in the region") for step in self.recipe.steps)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The words of the request that each step came from; none where the model does not tell."""
        if self.attention is None:
            return ()
        return tuple(f'by "{" ".join(_heeded(self.words, row))}"' for row in self.attention)

    @property
    def lines(self) -> list[str]:
        """The steps for people, with the words that each came from."""
        reasons = self.reasons or ("",) * len(self.steps)
        return [f"{k}. {' '.join(filter(None, pair))}" for k, pair in enumerate(zip(self.steps, reasons), 1)]


def take_order(model: StepModel, request: str, with_region: bool) -> Order:
    """Reads a request, and refuses what cannot be done as it is asked for.

    Args:
        model: What it knows.
        request: In English.
        with_region: Whether it is known where in the picture edits are to act.

    Raises:
        ConfigError: One line that says what cannot be done, and what can be asked for.
    """
    found = asked(request, model.vocabulary)
    encoded = model.vocabulary.encode(found.without_names, model.max_words)
    reason = _out_of_place(request, found, with_region)
    if reason:
        raise ConfigError(reason)
    reason = _not_understood(request, encoded, found)
    if reason:
        names = [op.name for op in model.operators]
        raise ConfigError(f"{reason}; ask for {things_to_ask_for(names)}")
    if found.erased and not is_installed("cv2"):
        raise ConfigError("taking objects away needs OpenCV, which is not installed; pip install ldie-ext[inpaint]")
    return Order(request, found.without_names, encoded, erases=bool(found.erased))


def _out_of_place(request: str, found: Asked, with_region: bool) -> str:
    """Why a request cannot be done without a region, or at once; empty where it can."""
    place = "say where it is by --mask FILE or --box X1,Y1,X2,Y2 (in Python: region=...), or leave it out"
    if found.impossible:
        return ""
    if found.erased and not with_region:
        return f"{request!r} takes {found.erased[0]!r} out of the picture: {place}"
    if found.erased and found.telling:
        return f"{request!r} takes something out of the picture and edits as well: ask for one after the other"
    if found.objects and not with_region:
        return f"{request!r} is about {found.objects[0]!r}, not the whole picture: {place}"
    return ""


def _not_understood(request: str, encoded: EncodedRequest, found: Asked) -> str:
    """Why a request is none that a model can do; empty where it is one."""
    if found.impossible:
        return f"{request!r} cannot be done: {found.impossible!r} is no edit of colours or sharpness"
    if found.erased:
        return ""
    if found.unheard:
        return f"{request!r} says what to leave alone, but {found.unheard!r} is not known: say only what is to change"
    if not encoded.words:
        return f"{request!r} has no words"
    if len(encoded.unknown) == len(encoded.words):
        return f"no word of {request!r} is known"
    if encoded.unknown and not found.telling:
        return f"{request!r} has no word that is known and says what to edit: not known are {_listed(encoded.unknown)}"
    return ""


def decide(model: StepModel, pixels: NDArray[Any], order: Order, region: Tensor | None = None) -> Decision:
    """The steps for one picture; the model sees a small preview of it.

    Args:
        model: In eval mode.
        pixels: uint8 or uint16 [H, W, 3].
        order: The request.
        region: bool [H, W], where all steps act, with at least one pixel; None: everywhere.

    Returns:
        It may have no steps.

    Raises:
        DataError: The region has too many pixels for a recipe.
    """
    if region is not None and region.numel() > MOST_MASK_PIXELS:
        raise DataError(f"a region must have at most {MOST_MASK_PIXELS} pixels, got {region.numel()}; scale it down")
    if order.erases:
        return Decision(_recipe([RecipeStep(_ERASE, (), 0)], pixels, region), order.encoded.words, None)
    size = model.preview_size
    shrunk = torch.from_numpy(np.array(small(pixels, _GLANCE * size))).permute(2, 0, 1)
    with torch.no_grad():
        (found,) = model.predict([EditInput(preview(shrunk, size), order.read, small_region(region, size))])
    if found.steps is None:
        raise ConfigError("this model decides no steps; load one of ldie train editing")
    bare = Recipe.from_edits(found.steps.ops, found.steps.params)
    steps = [RecipeStep(step.name, step.params, None if region is None else 0) for step in bare.steps]
    return Decision(_recipe(steps, pixels, region), found.words, found.attention)


def _recipe(steps: Sequence[RecipeStep], pixels: NDArray[Any], region: Tensor | None) -> Recipe:
    """The steps with the picture's size and hash, and the region."""
    masks = None if region is None or not steps else rle_encode(region[None])
    values = pixels if pixels.dtype == np.uint8 else (pixels.astype(np.float32) / 257).round().astype(np.uint8)
    image = torch.from_numpy(np.require(values, requirements="W")).permute(2, 0, 1)
    try:
        return Recipe(steps, masks, (pixels.shape[0], pixels.shape[1]), Recipe.hash_of(image))
    except ValueError as error:
        raise DataError(f"the steps decided on cannot be done ({first_line(error)}); train the model on") from error


def _heeded(words: Sequence[str], weights: Tensor) -> list[str]:
    """The few words that most of a step came from, in the request's order."""
    chosen, share = [], 0.0
    for k in weights.argsort(descending=True, stable=True).tolist()[:_MOST_WORDS]:
        chosen.append(k)
        share += float(weights[k])
        if share >= _SHARE:
            break
    return [words[k] for k in sorted(chosen)]


def _listed(words: Iterable[str]) -> str:
    return short(map(repr, dict.fromkeys(words)), _MOST_NAMED)
