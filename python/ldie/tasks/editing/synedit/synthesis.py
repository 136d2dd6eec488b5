# SPDX-License-Identifier: Apache-2.0
"""Edits of pictures with objects, made up in sessions, each with the record of what was done.

A session says which kinds of edits each picture gets, one of each: session 0 an ``invertible`` one, a ``local_color``,
a ``local_inpainting`` and a ``compound``; session 1 an invertible one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.reverse import REVERSES, Reverse, reverse_edit
from ldie.tasks.editing.synedit.scene import Scene
from ldie.tasks.editing.synedit.synedit_pairs import draw_params
from ldie_ext import EditOp, Recipe, RecipeStep, StepExecutor, rle_encode

Part: TypeAlias = Callable[[Scene, Draws], list[RecipeStep]]
"""Draws steps; the number of a step's mask is that of the scene's object."""
LOCAL_COLOURS = (EditOp.HUE, EditOp.SATURATION, EditOp.COLOR_CURVE)
GLOBAL_COLOURS = (EditOp.SATURATION, EditOp.TONE_CURVE, EditOp.COLOR_CURVE)
INPAINTING = "INPAINT_OBJ"
LEAST_PART, MOST_PART = 0.004, 0.5
"""Of the picture that an object covers, for an edit of its own."""
LEAST_CHANGE = 2.0
"""Levels of 255 by which a local edit changes the object's pixels, on average."""


@dataclass(frozen=True)
class Synthesised:
    """An edit of a scene's picture."""

    kind: str
    recipe: Recipe
    objects: tuple[int, ...]
    """The scene's object of each of the recipe's masks."""
    target: NDArray[np.uint8]
    """uint8 [H, W, 3]; ``recipe.apply`` of the picture gives it again."""
    reverse: Reverse | None
    """What takes it back, where it is one invertible edit."""


def usable_objects(scene: Scene) -> list[int]:
    """The objects that are neither too small nor too large for an edit of their own."""
    parts = scene.masks.flatten(1).double().mean(1).tolist()
    return [number for number, part in enumerate(parts) if LEAST_PART <= part <= MOST_PART]


def synthesise(scene: Scene, session: int, draws: Draws, executor: StepExecutor | None = None) -> list[Synthesised]:
    """One edit of each of the session's kinds.

    Args:
        scene: With at least one usable object in session 0.
        session: One of :data:`SESSIONS`.
        draws: Decides everything.
        executor: Does the inpainting of session 0.
    """
    return [_synthesised(scene, kind, KINDS[kind](scene, draws), executor) for kind in SESSIONS[session]]


def _synthesised(scene: Scene, kind: str, steps: Sequence[RecipeStep], executor: StepExecutor | None) -> Synthesised:
    objects = tuple(sorted({step.mask for step in steps if step.mask is not None}))
    steps = [step if step.mask is None else replace(step, mask=objects.index(step.mask)) for step in steps]
    masks = rle_encode(scene.masks[list(objects)]) if objects else None
    height, width = scene.image.shape[:2]
    source = Recipe.hash_of(scene.image.permute(2, 0, 1))
    recipe = Recipe(steps, masks, (height, width), source, executor=executor)
    target = recipe.apply(scene.image.numpy())
    reverse = None
    if kind == "invertible":
        reverse = reverse_edit(torch.from_numpy(target), scene.image, EditOp[steps[0].name])
    return Synthesised(kind, recipe, objects, target, reverse)


def _step(draws: Draws, op: EditOp, mask: int | None = None) -> RecipeStep:
    return RecipeStep(op.name, tuple(draw_params(draws, op)), mask)


def _global(scene: Scene, draws: Draws, operators: Sequence[EditOp]) -> list[RecipeStep]:
    return [_step(draws, draws.pick(operators))]


def _local_colour(scene: Scene, draws: Draws) -> list[RecipeStep]:
    """An edit that can be seen on its object: grey has no hue or saturation to change."""
    number = draws.pick(usable_objects(scene))
    mask, picture = scene.masks[number], scene.image.numpy()
    for op in draws.sample(LOCAL_COLOURS, len(LOCAL_COLOURS)):
        step = _step(draws, op, number)
        edited = Recipe([replace(step, mask=None)]).apply(picture)
        if np.abs(edited.astype(int) - picture)[mask.numpy()].mean() >= LEAST_CHANGE:
            break
    return [step]


def _local_inpainting(scene: Scene, draws: Draws) -> list[RecipeStep]:
    return [RecipeStep(INPAINTING, mask=draws.pick(usable_objects(scene)))]


def _compound(scene: Scene, draws: Draws) -> list[RecipeStep]:
    """Two or three different parts in random order."""
    parts: tuple[Part, ...] = (_invertible, _local_colour, partial(_global, operators=GLOBAL_COLOURS))
    return [step for part in draws.sample(parts, 2 + draws.below(2)) for step in part(scene, draws)]


_invertible = partial(_global, operators=tuple(REVERSES))

KINDS: Mapping[str, Part] = {
    "invertible": _invertible,
    "local_color": _local_colour,
    "local_inpainting": _local_inpainting,
    "compound": _compound,
}
SESSIONS: Mapping[int, tuple[str, ...]] = {0: tuple(KINDS), 1: ("invertible",)}
