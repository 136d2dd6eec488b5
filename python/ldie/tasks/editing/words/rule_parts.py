# SPDX-License-Identifier: Apache-2.0
"""One part of a request, read by rules on its words: what is to be more or less, how much, or why that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ldie.tasks.editing.words.rule_actions import Action
from ldie.tasks.editing.words.rule_words import BOTH, CHANGES, NOTHING, Role, Word

_MODIFIED = {
    ("brightness", 1, "saturation"): "saturation",
    ("sharpness", 1, "contrast"): "contrast",
    ("sharpness", -1, "contrast"): "contrast",
}
"""What a change says of a quality that it stands before: brighter colours are saturated, soft contrast is no blur."""


_COMMANDS = (Role.MAKE, Role.VERB, Role.CHANGE, Role.ERASE, Role.ADD, Role.IMPOSSIBLE)
_NOT_DONE = "is nothing that edits of colours and sharpness do"


@dataclass
class Part:
    """A part of a request, and what the next one can take over."""

    words: list[Word]
    actions: list[Action] = field(default_factory=list)
    erased: str = ""
    """The object that is to be removed."""
    refused: str = ""
    """What of it cannot be done."""
    whitens: bool = False
    """Whether the background is to be white."""
    direction: int = 0
    """Of its last word that says more or less."""
    flips: bool = False
    """Whether its adjectives say how the picture is and should not be."""

    def has(self, *roles: Role) -> bool:
        """Whether there is a word of one of the roles."""
        return any(word.role in roles for word in self.words)


def read_part(words: list[Word], before: Part) -> Part:
    """What a part asks for, where it leaves something open with what the part before says."""
    part = Part(words)
    words = _without_kept(words)
    if impossible := next((word for word in words if word.role is Role.IMPOSSIBLE), None):
        part.refused = f"{impossible.text!r} {_NOT_DONE}"
        return part
    roles = {word.role for word in words}
    if {Role.BACKGROUND, Role.WHITE} <= roles:
        part.whitens = True
        part.actions = [Action("background", 1)]
        return part
    words = [word for k, word in enumerate(words) if not _is_attribute(words, k)]
    if not _takes_an_object(part, words):
        _take_over(part, words, before)
        part.actions = _actions(part, words)
    return part


def described(words: Sequence[Word]) -> list[Action]:
    """From adjectives alone: "a bright picture" is wanted, "the dark picture" is not to stay so."""
    actions = []
    for k, word in enumerate(words):
        if _is_attribute(words, k):
            wanted = any(other.text in ("a", "an") for other in words[:k])
            actions.append(Action(word.quality, word.sign if wanted else -word.sign, level_of(words)))
    return actions


def level_of(words: Sequence[Word]) -> int | None:
    """Of the first word that says how much; behind "too" there is none."""
    for k, word in enumerate(words):
        if word.role is Role.DEGREE and not (k and words[k - 1].role is Role.TOO):
            return word.level
    return None


def _without_kept(words: list[Word]) -> list[Word]:
    """The part without what is to stay as it is: behind "keep", and a verb and all behind "don't"."""
    for k, word in enumerate(words):
        ahead = next((other for other in words[k + 1 :] if other.role not in (*NOTHING, Role.DEGREE)), None)
        forbids = word.role is Role.NOT and ahead is not None and (ahead.role in _COMMANDS or _is_command(ahead))
        if word.role is Role.KEEP or forbids:
            return words[:k]
    return words


def _is_command(word: Word) -> bool:
    """Whether a direction is a verb: increase, but not more."""
    return word.role is Role.DIRECTION and word.text not in ("more", "less", "up", "down", "high", "low")


def _is_attribute(words: Sequence[Word], k: int) -> bool:
    """Whether an adjective only tells which thing is meant: "the red circle", but not "the red tint"."""
    word, first = words[k], k - 1
    while first >= 0 and words[first].role in (Role.DEGREE, Role.ADJECTIVE):
        first -= 1
    behind = next((other.role for other in words[k + 1 :] if other.role is not Role.ADJECTIVE), None)
    of_a_thing = behind in (Role.FILLER, Role.UNKNOWN, Role.BACKGROUND)
    is_base_form = word.role is Role.ADJECTIVE and not word.comparative
    return is_base_form and of_a_thing and first >= 0 and words[first].role is Role.ARTICLE


def _takes_an_object(part: Part, words: Sequence[Word]) -> bool:
    """Whether it is an object that is to be removed, added or changed, which is noted."""
    verb = next((k for k, word in enumerate(words) if word.role in (Role.ERASE, Role.ADD, Role.CHANGE)), None)
    if verb is None:
        return False
    skipped = (*NOTHING, Role.ARTICLE, Role.DEGREE)
    thing = next((word for word in words[verb + 1 :] if word.role not in skipped), None)
    named = thing is not None and thing.role in (Role.UNKNOWN, Role.BACKGROUND)
    name = repr(thing.text) if thing is not None and named else "something"
    if words[verb].role is Role.ERASE and (named or thing is None):
        part.erased = name
        part.actions = [Action("object", -1)]
    elif words[verb].role is Role.ADD and named:
        part.refused = f"adding {name} {_NOT_DONE}"
    elif named and not any(word.role in (*CHANGES, Role.QUALITY) for word in words):
        part.refused = f"changing {name} into something else {_NOT_DONE}"
    return bool(part.erased or part.refused)


def _take_over(part: Part, words: Sequence[Word], before: Part) -> None:
    """Finds whether the part means more or less, and whether it complains, or takes that from the part before."""
    begins = next((word.role for word in words if word.role not in (*NOTHING, Role.DEGREE)), None)
    names = (Role.QUALITY, Role.ADJECTIVE, Role.NOUN, Role.ARTICLE, Role.NOT)
    goes_on = begins in names and not part.has(Role.MAKE, Role.IS)
    signs = [word.sign for word in words if word.role is Role.DIRECTION]
    part.direction = signs[-1] if signs else before.direction if goes_on else 0
    part.flips = _complains(words) or (before.flips and goes_on)


def _complains(words: Sequence[Word]) -> bool:
    """Whether the part says how the picture is, and so what it should not be."""
    roles = [word.role for word in words]
    if Role.MAKE in roles:
        return Role.TOO in roles and Role.NOT not in roles
    seen = (Role.ADJECTIVE, Role.DEGREE, Role.NOT)  # "they look dull", but not "a dull look"
    looks = any(role is Role.LOOK and following in seen for role, following in pairwise(roles))
    return Role.TOO in roles or Role.IS in roles or looks


def _actions(part: Part, words: Sequence[Word]) -> list[Action]:
    """The changes that its words are, or else the qualities that it names, with its direction."""
    level, amount = level_of(words), next((word for word in words if word.role is Role.AMOUNT), None)
    share, given = (0.0, 0) if amount is None else (amount.amount, amount.sign)
    changes = [
        Action(_quality(words, k), word.sign * _turn(part, words, k), level, share)
        for k, word in enumerate(words)
        if word.role in CHANGES and not _is_object(words, k) and not _is_subject(words, k)
    ]
    return changes or [
        Action(word.quality, given or _direction(part, words, k), level, share)
        for k, word in enumerate(words)
        if word.role is Role.QUALITY
    ]


def _direction(part: Part, words: Sequence[Word], k: int) -> int:
    """1 where more of a quality is wanted, -1 where less is."""
    roles = [word.role for word in words]
    before = [word.sign for word in words[:k] if word.role is Role.DIRECTION]
    behind = [word.sign for word in words[k + 1 :] if word.role is Role.DIRECTION]
    if before:
        return before[-1]
    if Role.ENOUGH in roles or Role.NOT in roles[:k]:  # there is no contrast
        return 1
    if behind:
        return -behind[0] if part.flips else behind[0]  # the contrast is too low
    return part.direction or (-1 if Role.ERASE in roles[:k] else 1)


def _turn(part: Part, words: Sequence[Word], k: int) -> int:
    """1 where a change is wanted as its word says, -1 where the contrary is."""
    word, roles = words[k], [each.role for each in words]
    directions = [each.sign for each in words[:k] if each.role is Role.DIRECTION] or [part.direction]
    direction, complaint = directions[-1] or 1, -1 if part.flips else 1
    if word.role is Role.VERB or _begins_as_verb(words, k) or Role.ENOUGH in roles:
        return 1
    if word.comparative:
        return -1 if Role.NOT in roles[:k] or direction < 0 else 1
    if Role.NOT in roles[:k]:  # "not so bright" asks for less, "it is not bright" for more
        return -complaint if Role.IS in roles or Role.TOO not in roles else -1
    named = word.role is Role.NOUN or Role.LOOK in roles[k + 1 : k + 2]  # fix the yellow tint
    if Role.ERASE in roles[:k] or (Role.CHANGE in roles[:k] and named):
        return -1
    return complaint * direction


def _begins_as_verb(words: Sequence[Word], k: int) -> bool:
    """Whether a word that is a verb and something else begins its part: "blur it", "please dim the light"."""
    opening = (*NOTHING, Role.DEGREE, Role.FIRST, Role.LAST, Role.BEFORE, Role.AFTER)
    return words[k].text in BOTH and all(word.role in opening for word in words[:k])


def _is_object(words: Sequence[Word], k: int) -> bool:
    """Whether it only names what a verb before it acts on: "darken the highlights"."""
    first = k - 1
    while first >= 0 and words[first].role is Role.ARTICLE:
        first -= 1
    acts = first >= 0 and (words[first].role is Role.VERB or _begins_as_verb(words, first))
    return acts and words[k].role is not Role.VERB


def _is_subject(words: Sequence[Word], k: int) -> bool:
    """Whether it only names what another word says something of: "the light is harsh", "make the shadows darker"."""
    word, following = words[k], words[k + 1 : k + 2]
    opens = word.role is Role.NOUN or (word.role is Role.ADJECTIVE and not word.comparative)
    says = (Role.IS, Role.TOO, Role.DIRECTION, Role.DEGREE, Role.NOT, Role.MAKE)
    is_told_of = any(each.comparative or each.role in says for each in following)
    is_changed = any(each.role in CHANGES for each in words[k + 2 :]) or any(each.comparative for each in following)
    return opens and is_told_of and is_changed and (k == 0 or words[k - 1].role is Role.ARTICLE)


def _quality(words: Sequence[Word], k: int) -> str:
    """A change's quality, which one that it stands before can make another."""
    word = words[k]
    behind = next((other for other in words[k + 1 :] if other.role is not Role.ARTICLE), word)
    return _MODIFIED.get((word.quality, word.sign, behind.quality), word.quality)
