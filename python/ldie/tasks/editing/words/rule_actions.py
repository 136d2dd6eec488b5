# SPDX-License-Identifier: Apache-2.0
"""What is to be more or less in a picture, as steps of given operators; three levels of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ldie.tasks.editing.synedit.synedit_pairs import MAGNITUDES
from ldie.tasks.editing.words.rule_words import COLORS
from ldie_ext import RecipeExecutor, RecipeStep
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

_KINDS = {**EDIT_KINDS, **RecipeExecutor().kinds}
_PIECES = 8


@dataclass(frozen=True)
class Action:
    """More or less of something."""

    quality: str
    sign: int
    """1 or -1."""
    level: int | None = None
    """0 to 2; None: the request does not say, 1."""
    amount: float = 0.0
    """In parts of one, where the request says so; 0: the level decides."""


_LEVELS: Mapping[str, tuple[float, ...]] = {
    **{op.name: levels for op, levels in MAGNITUDES.items()},
    "EXPOSURE": (-1.0, -0.6, -0.3, 0.3, 0.6, 1.0),
    "LIGHTNESS": (-0.4, -0.275, -0.15, 0.15, 0.275, 0.4),
    "EDGE": (0.3, 0.6, 1.0),
    "DENOISE": (0.05, 0.1, 0.2),
    "DEHAZE": (0.3, 0.6, 0.9),
}
"""Parameters of operators that have one, of each sign that they have."""
_FIXED: Mapping[str, tuple[float, ...]] = {"COLORIZE": (0.09,), "COLOR_BG": (0.0,), "INPAINT_OBJ": ()}
"""Parameters of operators that have no levels; 0.09 of the circle of hues is sepia."""
_GRAY = (0.5, 1.0, 1.0)
"""How far BLACK_WHITE goes; less of it is less saturation."""
_TINTS, _BENDS = (0.08, 0.15, 0.25), (0.25, 0.5, 0.8)
"""How far white balance moves a channel, and how much a curve bends: its first weight is exp of it."""

DOES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "brightness": (("BRIGHTNESS", 1), ("EXPOSURE", 1), ("LIGHTNESS", 1), ("TONE_CURVE", 1)),
    "exposure": (("EXPOSURE", 1), ("BRIGHTNESS", 1), ("LIGHTNESS", 1), ("TONE_CURVE", 1)),
    "lightness": (("LIGHTNESS", 1), ("BRIGHTNESS", 1), ("EXPOSURE", 1), ("TONE_CURVE", 1)),
    "tone": (("TONE_CURVE", 1), ("BRIGHTNESS", 1), ("EXPOSURE", 1)),
    "contrast": (("CONTRAST", 1), ("TONE_CURVE", 1)),
    "saturation": (("SATURATION", 1),),
    "sharpness": (("SHARPNESS", 1), ("BLUR", -1)),
    "hue": (("HUE", 1),),
    "gray": (("BLACK_WHITE", 1), ("SATURATION", -1)),
    "sepia": (("COLORIZE", 1),),
    "noise": (("DENOISE", -1),),
    "haze": (("DEHAZE", -1),),
    "edge": (("EDGE", 1),),
    "background": (("COLOR_BG", 1),),
    "object": (("INPAINT_OBJ", -1),),
    **dict.fromkeys(COLORS, (("WHITE_BALANCE", 1), ("COLOR_CURVE", 1))),
}
"""Operators that change a quality, the best first, and whether they make more or less of it."""
_ONE_WAY = frozenset({"SHARPNESS", "BLUR", "EDGE", "DENOISE", "DEHAZE", "BLACK_WHITE", *_FIXED})
"""Operators that cannot be turned round."""
_ASKED: Mapping[str, str] = {
    "BRIGHTNESS": "a brighter or darker picture",
    "EXPOSURE": "more or less exposure",
    "CONTRAST": "more or less contrast",
    "SATURATION": "more or less saturated colours",
    "WHITE_BALANCE": "warmer or cooler colours",
    "COLOR_CURVE": "more or less of a colour",
    "SHARPNESS": "a sharper picture",
    "BLUR": "a softer picture",
    "TONE_CURVE": "brighter or darker tones",
    "BLACK_WHITE": "black and white",
    "HUE": "other hues",
}
"""What can be asked for with an operator."""


def things_to_ask_for(operators: Iterable[str], most: int = 4) -> str:
    """What can be asked for with some operators, in words."""
    known = [_ASKED[name] for name in operators if name in _ASKED][:most]
    return ", ".join(known[:-1]) + " or " * (len(known) > 1) + known[-1] if known else "what its operators do"


def steps_of(actions: Sequence[Action], operators: Sequence[str]) -> tuple[list[RecipeStep], list[str]]:
    """Steps that do the actions in order, each operator once, and in words what no operator does.

    What is said again of a quality counts, in the place of what was said first; different ones of one operator add up.
    """
    chosen: dict[str, dict[str, Action]] = {}
    missing = []
    for action in actions:
        name = _operator_for(action, operators)
        if name is None:
            missing.append(f"{'more' if action.sign > 0 else 'less'} {action.quality}")
            continue
        said = chosen.setdefault(name, {})
        earlier = said.get(action.quality)
        if earlier is not None and earlier.sign == action.sign and action.level is None and not action.amount:
            action = replace(action, level=earlier.level, amount=earlier.amount)
        said[action.quality] = action
    return [_step(name, list(said.values())) for name, said in chosen.items()], missing


def _operator_for(action: Action, operators: Sequence[str]) -> str | None:
    for name, way in DOES[action.quality]:
        if name in operators and (way * action.sign > 0 or name not in _ONE_WAY):
            return name
    return None


def _step(name: str, actions: Sequence[Action]) -> RecipeStep:
    if name in _FIXED:
        return RecipeStep(name, _FIXED[name], mask=0 if _KINDS[name].needs_mask else None)
    if name == "WHITE_BALANCE":
        return RecipeStep(name, tuple(_inside(name, 1 + shift) for shift in _shifts(actions, _TINTS)))
    if name == "COLOR_CURVE":
        return RecipeStep(name, tuple(weight for bend in _shifts(actions, _BENDS) for weight in _curve(bend)))
    if name == "TONE_CURVE":
        bends = [
            sum(_strength(each, _BENDS) for each in actions if (each.quality == "contrast") is s) for s in (False, True)
        ]
        return RecipeStep(name, tuple(_curve(*bends)))
    return RecipeStep(name, (_inside(name, _number(name, actions[-1])),))


def _number(name: str, action: Action) -> float:
    """The parameter of an operator that has one."""
    sign = action.sign * dict(DOES[action.quality])[name]
    if action.amount:
        return sign * action.amount
    if action.quality == "gray":
        return sign * _of(_GRAY, action)
    return sign * _of(sorted(abs(value) for value in _LEVELS[name] if value * sign > 0), action)


def _of(levels: Sequence[float], action: Action) -> float:
    return levels[1 if action.level is None else action.level]


def _strength(action: Action, levels: Sequence[float]) -> float:
    """With its sign, of what is not counted in the request's percents."""
    return action.sign * (min(action.amount, 1.0) * levels[-1] if action.amount else _of(levels, action))


def _shifts(actions: Sequence[Action], levels: Sequence[float]) -> list[float]:
    """How far red, green and blue are moved by all colours together."""
    return [sum(_strength(each, levels) * COLORS[each.quality][c] for each in actions) for c in range(3)]


def _curve(bend: float, contrast: float = 0.0) -> list[float]:
    """Weights of a curve that lifts the middle where bend is positive, and is steeper there with contrast; mean 1."""
    places = [2 * (i + 0.5) / _PIECES - 1 for i in range(_PIECES)]
    weights = [math.exp(-bend * x + contrast * (1 - 2 * abs(x))) for x in places]
    return [round(_PIECES * weight / sum(weights), 4) for weight in weights]


def _inside(name: str, value: float) -> float:
    kind = _KINDS[name]
    return round(min(max(value, kind.low), kind.high), 4)
