# SPDX-License-Identifier: Apache-2.0
"""SynEdit's requests in words: phrases drawn, filled in and joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ldie.tasks.editing.synedit import request_phrases as tables
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.request_bank import PLACE, Phrase, Stand, usable
from ldie.tasks.editing.synedit.request_phrases import ADVERBS, DEGREES, MIDDLE, SPELLINGS, Aim

MOST_WORDS = 15
"""Of a request; language encoders cut longer ones."""
PICTURES = ("it", "it", "the picture", "the photo", "this picture", "this photo", "the image", "this image")
CONNECTIVES = (" and ", " and ", " then ", " and then ", ", ", ", then ", " but ", ", and after that ", " and also ")
AFTER_SAYING = (" and ", ", ")
"""After what is no command: ``it is too dark, sharpen it``."""
LISTING = (" and ", " and ", " but ", ", ", " and also ")
INSIDE, OUTSIDE = ("on", "for", "in"), ("everywhere but on", "everywhere except on", "outside")
BUT = ("everything but", "everything except", "all but")
_TRIES = 300
_FRONT, _POLITE, _SHARED, _AHEAD = 0.3, 0.35, 0.3, 0.4
"""How often an adverb stands before its verb, a request begins politely, steps share one verb, and an object stands
before all of them."""


@dataclass(frozen=True)
class Ask:
    """A step of a request: what for, and which of the aim's levels."""

    aim: Aim
    level: int = 0

    @property
    def degree(self) -> int:
        """Weak, middle or strong; middle where the aim has no degrees."""
        return self.level if len(self.aim.levels) > 1 else MIDDLE


@dataclass(frozen=True)
class Place:
    """An object as a request names it, and whether the steps act on everything else instead."""

    name: str
    outside: bool = False


@dataclass(frozen=True)
class _Subject:
    """What stands at a phrase's places for what is edited."""

    it: str
    the: str
    of: str


def words(request: str) -> list[str]:
    """The words of a request, without what stands between them."""
    return re.findall(r"[a-z]+", request)


def request_text(draws: Draws, asks: Sequence[Ask], place: Place | None = None, held: bool = False) -> str | None:
    """A request for some steps in their order, of at most 15 words; None where none so short was found.

    Args:
        draws: Decides everything.
        asks: What to ask for.
        place: The object on which the steps act, or around which; None: the whole picture.
        held: Whether to use the phrases that are held out of training.
    """
    for _ in range(_TRIES):
        request = _joined(draws, asks, place, held)
        if len(request.split()) <= MOST_WORDS:
            return request
    return None


def _joined(draws: Draws, asks: Sequence[Ask], place: Place | None, held: bool) -> str:
    """A request of any length."""
    if place is not None and (draws.number(0, 1) < _AHEAD or (place.outside and len(asks) > 1)):
        ahead = draws.pick(OUTSIDE if place.outside else INSIDE)
        return f"{ahead} {place.name} {_clauses(draws, asks, _Subject('it', draws.pick(('the', '')), ''), held)}"
    subject = _whole(draws) if place is None else _named(draws, place)
    if len(asks) > 1 and draws.number(0, 1) < _SHARED and (lists := _lists(asks, held)):
        return _listed(draws, asks, subject, *draws.pick(lists), place is not None)
    return _clauses(draws, asks, subject, held, place is not None)


def _whole(draws: Draws) -> _Subject:
    picture = draws.pick(PICTURES)
    if picture != "it" and draws.number(0, 1) < 0.4:
        return _Subject(picture, "the", f" of {picture}")
    return _Subject(picture, draws.pick(("the", "")), "")


def _named(draws: Draws, place: Place) -> _Subject:
    name = f"{draws.pick(BUT)} {place.name}" if place.outside else place.name
    return _Subject(name, "the", f" of {name}")


def _lists(asks: Sequence[Ask], held: bool) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Beginnings of sentences that all steps can share, and how each step can go on."""
    kinds = (
        (tables.MAKING_HELD if held else tables.MAKING, [ask.aim.adjectives for ask in asks]),
        (tables.GIVING_HELD if held else tables.GIVING, [ask.aim.nouns for ask in asks]),
    )
    return [(openers, whats) for openers, whats in kinds if all(whats)]


def _listed(
    draws: Draws,
    asks: Sequence[Ask],
    subject: _Subject,
    openers: Sequence[str],
    whats: Sequence[Sequence[str]],
    named: bool,
) -> str:
    """One sentence for all steps: ``make it warmer and a bit brighter``."""
    opener = draws.pick([opener for opener in openers if "{it}" in opener or not named])
    parts = [
        _filled(draws, f"{{more}} {draws.pick(what)}", subject, ask.degree)
        for ask, what in zip(asks, whats, strict=True)
    ]
    text = parts[0] + "".join(draws.pick(LISTING) + part for part in parts[1:])
    return _filled(draws, opener.replace("{what}", text), subject, MIDDLE)


def _clauses(draws: Draws, asks: Sequence[Ask], first: _Subject, held: bool, named: bool = False) -> str:
    """A sentence for each step; where an object is named, in the first of them."""
    later = _Subject("it", "its" if named else draws.pick(("the", "")), "")
    begin = _drawn(draws, asks[0], held, "naming" if named else "first")
    parts = [_filled(draws, _fronted(draws, begin, asks[0].degree), first, asks[0].degree)]
    for ask in asks[1:]:
        phrase = _drawn(draws, ask, held, "later")
        parts.append(_filled(draws, _fronted(draws, phrase, ask.degree), later, ask.degree))
    links = CONNECTIVES if begin.command or begin.short else AFTER_SAYING
    text = parts[0] + "".join(draws.pick(links) + part for part in parts[1:])
    if begin.command and draws.number(0, 1) < _POLITE:
        return f"{draws.pick(tables.PLEASE_HELD if held else tables.PLEASE)} {text}"
    return text


def _drawn(draws: Draws, ask: Ask, held: bool, stand: Stand) -> Phrase:
    """One of the phrases that can be used; each way of making them is as likely."""
    return draws.pick(draws.pick(usable(ask.aim, held, ask.degree, stand)))


def _fronted(draws: Draws, phrase: Phrase, degree: int) -> str:
    """The phrase, its degree sometimes before the verb."""
    if phrase.command and "by" in phrase.places and ADVERBS[degree] and draws.number(0, 1) < _FRONT:
        return f"{draws.pick(ADVERBS[degree])} {phrase.text.replace(' {by}', '')}"
    return phrase.text


def _filled(draws: Draws, text: str, subject: _Subject, degree: int) -> str:
    def fill(place: re.Match[str]) -> str:
        name = place[1]
        if name in DEGREES:
            return draws.pick(DEGREES[name][degree])
        return draws.pick(SPELLINGS[name]) if name in SPELLINGS else str(getattr(subject, name))

    return " ".join(PLACE.sub(fill, text).split()).replace(" ,", ",")
