# SPDX-License-Identifier: Apache-2.0
"""A request drawn for a scene: its words, its steps, and where they act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.errors import ConfigError
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.request_objects import name_of
from ldie.tasks.editing.synedit.request_phrases import AIMS, FIX
from ldie.tasks.editing.synedit.request_plans import SPLITS, Plan, plans
from ldie.tasks.editing.synedit.request_text import Ask, Place, request_text
from ldie.tasks.editing.synedit.scene import SceneObject
from ldie_ext import EditOp

ASKED = tuple(dict.fromkeys(aim.op for aim in AIMS))
"""Operators that there are words for."""

_MOST_WITH_A_NAME = 2


@dataclass(frozen=True)
class RequestChoice:
    """What requests may ask for."""

    operators: tuple[EditOp, ...] = ASKED
    steps: tuple[int, int] = (1, 3)
    """How many, at least and at most; each by another operator."""
    local: float = 0.2
    """How many requests name an object, where there is one that can be named."""
    fix: float = 1 / 3
    """How many steps of brightness leave it to the picture how much."""

    def __post_init__(self) -> None:
        for op in self.operators:
            if op not in ASKED:
                names = ", ".join(known.name for known in ASKED)
                raise ConfigError(f"operators must be some of {names}, got {getattr(op, 'name', op)}")
        if len(set(self.operators)) < max(1, len(self.operators)):
            raise ConfigError("operators must be at least one, each once")
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise ConfigError(f"steps must be at least 1 and at most as many or more, got {self.steps}")
        for name in ("local", "fix"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")

    def check(self, split: str) -> None:
        """Raises a ConfigError where a split is unknown or can have no requests."""
        if split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split}")
        if not plans(self.operators, self.steps, split):
            names = ", ".join(op.name for op in self.operators)
            raise ConfigError(f"{split}: {names} have no combination for it in {self.steps} steps; take more operators")


@dataclass(frozen=True)
class DrawnRequest:
    """A request and what it asks for."""

    text: str
    asks: tuple[Ask, ...]
    named: int = -1
    """The object that the request names, -1: none."""
    outside: bool = False
    """Whether the steps act everywhere but on that object."""

    @property
    def kind(self) -> str:
        """As :class:`ldie.tasks.editing.sample.EditSample` has it; what the picture decides goes first."""
        if any(ask.aim is FIX for ask in self.asks):
            return "fix"
        return "plain" if self.named < 0 else "referring"

    def region(self, masks: Tensor) -> Tensor:
        """Where the steps act, bool [H, W], of the masks bool [M, H, W] of the scene's objects."""
        if self.named < 0:
            return torch.ones(masks.shape[1:], dtype=torch.bool)
        return ~masks[self.named] if self.outside else masks[self.named]


def draw_request(
    draws: Draws,
    objects: Sequence[SceneObject],
    choice: RequestChoice,
    split: str,
    usable: Sequence[int] | None = None,
) -> DrawnRequest:
    """A request for a picture with some objects.

    The number of steps is even among those that the split has sequences for, then the sequence is, then each step's
    sign and degree. Requests that name an object have one of the two least numbers of steps, as 15 words are few;
    where no name is short enough, the request is for the whole picture.

    Args:
        draws: Decides everything.
        objects: All that the picture has, lest a name mean two of them.
        choice: What may be asked for.
        split: Which phrases and sequences of operators.
        usable: Those that a request may name; None: all.
    """
    held, found = split == "paraphrase", plans(choice.operators, choice.steps, split)
    usable = range(len(objects)) if usable is None else usable
    if usable and draws.number(0, 1) < choice.local:
        named, outside = draws.pick(usable), draws.below(2) == 1
        asks = _asks(draws, found[:_MOST_WITH_A_NAME], choice.fix)
        name = name_of(draws, objects, named)
        text = None if name is None else request_text(draws, asks, Place(name, outside), held)
        if text is not None:
            return DrawnRequest(text, asks, named, outside)
    asks = _asks(draws, found, choice.fix)
    text = request_text(draws, asks, None, held)
    if text is None:
        raise ConfigError(f"steps must be few enough for a request of 15 words, got {choice.steps}")
    return DrawnRequest(text, asks)


def _asks(draws: Draws, found: Sequence[Sequence[Plan]], fix: float) -> tuple[Ask, ...]:
    return tuple(_ask(draws, op, fix) for op in draws.pick(draws.pick(found)))


def _ask(draws: Draws, op: EditOp, fix: float) -> Ask:
    if op is EditOp.BRIGHTNESS and draws.number(0, 1) < fix:
        return Ask(FIX)
    aim = draws.pick([aim for aim in AIMS if aim.op is op])
    return Ask(aim, draws.below(len(aim.levels)))
