# SPDX-License-Identifier: Apache-2.0
"""What a request asks for that no sequence of edits can do, told by its words before a model reads it.

A model turns every sentence into steps, also one that it was never taught. So three things are looked for by rules
(:mod:`ldie.tasks.editing.words.rule_words`), and each is refused rather than done in some other way:

* what is no edit of colours and sharpness: ``crop``, ``rotate``, ``add a hat``;
* an object that is to go: ``remove the car``;
* an object, or a part of the picture, that edits are to be kept to: ``brighten the car``. That is a noun which says
  nothing of colours or sharpness, behind ``the``, ``this``, ``my``, ..., or right behind a verb: every word that the
  rules have no other meaning for. ``The dark parts`` are tones, no object; nor is ``the look``.

What follows ``don't``, ``do not`` or ``keep`` is not looked at. A model that does not know such a word would do what is
to be left alone, so that is refused as well.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ldie.tasks.editing.words.rule_words import Role, Word, read_words
from ldie.tasks.editing.words.vocabulary import tokenise

_DEFINITE = frozenset(tokenise("the this that these those my its his her their our your"))
_NO_OBJECTS = frozenset(tokenise("same most least best worst whole way midtone midtones black blacks white whites"))
_TONAL = frozenset(tokenise("part parts area areas region regions spot spots pixel pixels end ends"))
"""Of tones where an adjective is before them: the dark parts."""
_OF_LENSES = ("noise", "haze", "sharpness")
"""Qualities whose nouns have the names of things before them: film grain, lens blur."""
_BUT = ("except", "besides")
"""Before an object that edits act around."""
_NEVER = ("don't", "dont", "never")
_BEFORE_A_NOUN = (Role.ADJECTIVE, Role.DEGREE, Role.UNKNOWN, Role.BACKGROUND, Role.WHITE)
_SKIPPED = (Role.ARTICLE, Role.FILLER, Role.DEGREE, Role.LINK)
_TELLING = (Role.QUALITY, Role.VERB, Role.ADJECTIVE, Role.NOUN, Role.LOOK, Role.CHANGE, Role.UNKNOWN)
"""Words that can say what to edit, without others."""


@dataclass(frozen=True)
class Asked:
    """What a request asks for beside edits of the whole picture."""

    impossible: str = ""
    """The word for it, or ``add a hat``."""
    erased: tuple[str, ...] = ()
    """Objects that are to go."""
    objects: tuple[str, ...] = ()
    """Objects, or parts of the picture, that it names; those to erase are among them."""
    telling: tuple[str, ...] = ()
    """Words that a model knows and that say what to edit."""
    unheard: str = ""
    """The word, unknown to a model, behind which stands what is to be left alone, by words that it knows."""
    without_names: str = ""
    """The request with ``it`` in place of the objects for which a model has no word; as it was where there are none."""


def asked(text: str, known: Container[str]) -> Asked:
    """Looks for what a request asks for.

    Args:
        text: The request.
        known: The words that a model knows.

    Example:
        >>> found = asked("brighten the red car", {"brighten", "red", "it"})
        >>> found.objects, found.telling, found.without_names
        (('car',), ('brighten',), 'brighten it')
        >>> asked("remove the car", {"remove"}).erased, asked("remove the blur", {"remove"}).erased
        (('car',), ())
    """
    words, kept = _without_kept([_plain(word) for word in read_words(text)])
    impossible = next((word.text for word in words if word.role is Role.IMPOSSIBLE), "")
    erased, phrases = [], list(_phrases(words))
    for k, word in enumerate(words):
        if word.role not in (Role.ERASE, Role.ADD):
            continue
        first = _behind(words, k + 1)
        thing = _noun(words, first)
        if thing and thing.stop < len(words) and words[thing.stop].role in (Role.QUALITY, Role.NOUN):
            continue  # remove the sky's colour
        if word.role is Role.ERASE and (thing or first == len(words) or words[first].role is Role.JOIN):
            erased.append(words[thing.stop - 1].text if thing else "it")
            phrases += [thing] if thing else []
        elif thing and not _all_known(words[thing.stop - 1].text, known):
            impossible = impossible or f"{word.text} {words[thing.stop - 1].text}"
    objects = [*erased, *(words[phrase.stop - 1].text for phrase in phrases)]
    inside = {k for phrase in phrases for k in phrase}
    telling = [
        word.text
        for k, word in enumerate(words)
        if word.role in _TELLING and k not in inside and _all_known(word.text, known)
    ]
    return Asked(
        impossible,
        tuple(erased),
        tuple(dict.fromkeys(objects)),
        tuple(telling),
        _unheard(kept, known),
        _renamed(text, words, phrases, known),
    )


def _renamed(text: str, words: Sequence[Word], phrases: Iterable[range], known: Container[str]) -> str:
    """The text with ``it`` for objects that no word is known for."""
    for phrase in phrases if "it" in known else ():
        if not _all_known(words[phrase.stop - 1].text, known):
            name = r"(?:['\u2019]s)?\W+".join(re.escape(words[k].text) for k in phrase)
            text = re.sub(rf"\b(?:(?:{'|'.join(_DEFINITE)})\s+)?{name}\b", "it", text, count=1, flags=re.IGNORECASE)
    return text


def _plain(word: Word) -> Word:
    """The word without the ending of a genitive: the photo's."""
    stem = word.text.removesuffix("'s")
    return read_words(stem)[0] if word.role is Role.UNKNOWN and stem != word.text else word


def _without_kept(words: Sequence[Word]) -> tuple[list[Word], list[list[Word]]]:
    """The words but for those that are to be left alone, and these: each "keep", "don't" or "do not" up to a joint."""
    rest: list[Word] = []
    parts: list[list[Word]] = []
    inside = False
    for word, following in zip_longest(words, words[1:]):
        if word.role is Role.JOIN:
            inside = False
        keeps = word.role is Role.KEEP and word.text not in _BUT
        forbids = word.text == "do" and following is not None and following.text == "not"
        if not inside and (keeps or forbids or word.text in _NEVER):
            inside = True
            parts.append([])
        (parts[-1] if inside else rest).append(word)
    return rest, parts


def _unheard(parts: Iterable[Sequence[Word]], known: Container[str]) -> str:
    """See :attr:`Asked.unheard`."""
    for first, *behind in parts:
        told = any(word.role in _TELLING and _all_known(word.text, known) for word in behind)
        if told and not _all_known(first.text, known):
            return "do not" if first.text == "do" else first.text
    return ""


def _behind(words: Sequence[Word], first: int) -> int:
    """The place from ``first`` on of what a verb is about, without articles and the like."""
    while first < len(words) and words[first].role in _SKIPPED:
        first += 1
    return first


def _noun(words: Sequence[Word], first: int) -> range | None:
    """The words from ``first`` on up to a noun that the rules have no other meaning for; None where there is none."""
    last = first
    while last < len(words) and words[last].role in _BEFORE_A_NOUN:
        last += 1
    phrase, after = list(words[first:last]), words[last] if last < len(words) else None
    if after and (after.role is Role.LOOK or (after.role is Role.NOUN and after.quality in _OF_LENSES)):
        return None  # the vintage look, the film grain
    while phrase and (phrase[-1].role not in (Role.UNKNOWN, Role.BACKGROUND) or phrase[-1].text.endswith("ly")):
        phrase.pop()  # make the car dark, make the car completely grey
    if not phrase or phrase[-1].text in _NO_OBJECTS:
        return None
    tonal = phrase[-1].text in _TONAL and any(word.role in (Role.ADJECTIVE, Role.WHITE) for word in phrase)
    return None if tonal else range(first, first + len(phrase))


def _phrases(words: Sequence[Word]) -> Iterator[range]:
    """Phrases that name objects."""
    for k, word in enumerate(words):
        found = None
        if word.text in _DEFINITE or word.role in (Role.VERB, Role.MAKE, Role.CHANGE):
            found = _noun(words, k + 1)
        elif word.role is Role.BACKGROUND:
            found = range(k, k + 1)
        if found is not None:
            yield found


def _all_known(text: str, known: Container[str]) -> bool:
    return all(token in known for token in tokenise(text))
