# SPDX-License-Identifier: Apache-2.0
"""Words that name one object of a scene and no other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import SceneObject

SYNONYMS = {"disc": ("disc", "circle"), "rectangle": ("rectangle", "box")}
_TRAITS = ("size", "colour", "position")
_MOST_TRAITS = 2


def name_of(draws: Draws, objects: Sequence[SceneObject], index: int) -> str | None:
    """``the large red disc``, ``the box on the left``; None where no two traits tell it from all others.

    Args:
        draws: Chooses among what would do.
        objects: All objects of the scene.
        index: The one to name.
    """
    target = objects[index]
    known = [trait for trait in _TRAITS if getattr(target, trait)]
    ways = [
        traits
        for count in range(_MOST_TRAITS + 1)
        for traits in combinations(known, count)
        if sum(_alike(other, target, traits) for other in objects) == 1
    ]
    if not ways:
        return None
    traits = draws.pick(ways)
    before = [getattr(target, trait) for trait in traits if trait != "position"]
    where = _where(target.position) if "position" in traits else ""
    return " ".join(filter(None, ("the", *before, draws.pick(SYNONYMS.get(target.name, (target.name,))), where)))


def _alike(other: SceneObject, target: SceneObject, traits: Sequence[str]) -> bool:
    """Whether what is said of the target holds of another one; "at the top" does of what is at the top left."""
    return other.name == target.name and all(
        set(target.position.split()) <= set(other.position.split())
        if trait == "position"
        else getattr(other, trait) == getattr(target, trait)
        for trait in traits
    )


def _where(position: str) -> str:
    if position == "centre":
        return "in the middle"
    return f"on the {position}" if position in ("left", "right") else f"at the {position}"
