# SPDX-License-Identifier: Apache-2.0
"""All phrases for what SynEdit's requests ask for, made of the tables in request_phrases."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from ldie.tasks.editing.synedit import request_phrases as tables
from ldie.tasks.editing.synedit.request_phrases import DEGREES, MIDDLE, Aim

_HOLD_EVERY = 4
"""Of a table of verbs and properties one cell in so many is held out, along each row and each column."""
_NO_VERBS = ("{it}", "{the}", "{what}", "i", "can", "there", "brightness")
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Phrase:
    """A clause with places for the degree and for what is edited."""

    text: str
    command: bool
    """Whether it begins with a verb, so that "please" and "then" can stand before it."""
    short: bool = False
    """Whether it says no more than what is to be: ``more contrast``."""

    @property
    def places(self) -> set[str]:
        """The names of its places."""
        return set(PLACE.findall(self.text))

    def fits(self, degree: int) -> bool:
        """Whether it can say this degree."""
        degrees = self.places & DEGREES.keys()
        return all(DEGREES[place][degree] for place in degrees) and (bool(degrees) or degree == MIDDLE)


Stand = Literal["first", "naming", "later"]
"""Where a phrase stands: at the beginning, there with the name of an object in it, or after another phrase."""
_STANDS: dict[Stand, Callable[[Phrase], bool]] = {
    "first": lambda phrase: True,
    "naming": lambda phrase: bool(phrase.places & {"it", "of"}),
    "later": lambda phrase: phrase.command or phrase.short,
}


@cache
def bank(aim: Aim, held: bool) -> tuple[tuple[Phrase, ...], ...]:
    """An aim's phrases in groups by how they are made: those of training, or those held out of it.

    Both are made of the same words; only what they put together is different.
    """
    own = aim.held if held else aim.seen
    making, giving = (tables.MAKING_HELD, tables.GIVING_HELD) if held else (tables.MAKING, tables.GIVING)
    properties = _cells(tables.RAISING, aim.raised, held) + _cells(tables.LOWERING, aim.lowered, held)
    said = [f"{state} {{too}} too {wrong}" for state, wrong in _cells(tables.SAYING, aim.wrongs, held)]
    said += [f"{state} {lack} enough" for state, lack in _cells(tables.MISSING, aim.lacks, held)]
    amounts = _cells(tables.TOO_LITTLE, aim.raised, held) + _cells(tables.TOO_MUCH, aim.lowered, held)
    phrases = [_phrase(text) for text in own]
    groups = (
        [phrase for phrase in phrases if phrase.command],
        [phrase for phrase in phrases if not phrase.command],
        [_phrase(f"{verb} {{the}} {noun}{{of}} {{by}}") for verb, noun in properties],
        [_phrase(opener, what) for opener in making for what in aim.adjectives],
        [_phrase(opener, what) for opener in giving for what in aim.nouns],
        [_phrase(text) for text in said],
        [_phrase(f"{state} {noun}") for state, noun in amounts],
    )
    return tuple(tuple(group) for group in groups if group)


@cache
def usable(aim: Aim, held: bool, degree: int, stand: Stand) -> tuple[tuple[Phrase, ...], ...]:
    """Those of the bank that can say a degree and stand somewhere; groups with none are left out."""
    groups = (
        tuple(phrase for phrase in group if phrase.fits(degree) and _STANDS[stand](phrase)) for group in bank(aim, held)
    )
    return tuple(group for group in groups if group)


def _phrase(text: str, what: str = "") -> Phrase:
    command = text.split()[0] not in _NO_VERBS
    return Phrase(text.replace("{what}", f"{{more}} {what}"), command, text == "{what}")


def _cells(rows: Sequence[str], columns: Sequence[str], held: bool) -> list[tuple[str, str]]:
    """Those of a table that are seen, or those that are held out; what cannot be said is in neither."""
    return [
        (row, column)
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
        if _can_be_said(row, column) and _is_held(i, j, row, column) is held
    ]


def _can_be_said(row: str, column: str) -> bool:
    return row not in tables.BETTERING or column in tables.GOOD


def _is_held(i: int, j: int, row: str, column: str) -> bool:
    return (i + j) % _HOLD_EVERY == _HOLD_EVERY - 1 and (row, column) not in tables.ALWAYS_SEEN
