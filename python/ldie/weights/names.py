# SPDX-License-Identifier: Apache-2.0
"""Tables of names as data: how the tensors of one implementation are called in another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value")
_PLACE = re.compile(r"<(\d*)([a-z])([+-]\d+)?>|\*")
_REST, _NUMBER = "(.*)", r"(0|[1-9]\d{0,8})"
COUNTERS = ".num_batches_tracked"
"""How the names of batch norm's counters end, which no prediction depends on and not every file has."""


class NameTable:
    """Names of a model in two spellings, by patterns; what one rule does, the inverse table undoes.

    A pattern has whole numbers in angle brackets, ``<n>``, shifted and multiplied as ``<n-1>`` and ``<6n+4>``, and
    ``*`` for a rest of any kind. Both sides of a rule have the same letters.

    Args:
        rules: Patterns of the second spelling by those of the first; the first rule that fits counts.
        older: Patterns of the first spelling by those that it has replaced, for files that are older.
        dropped: Patterns of what files hold besides, and no model needs.

    Example:
        >>> table = NameTable({"layer<n>.<b>.bn<k>.*": "stages.<n-1>.<b>.norm<k>.*"})
        >>> table.rename("layer3.0.bn1.weight")
        'stages.2.0.norm1.weight'
        >>> table.inverse().rename("stages.2.0.norm1.weight")
        'layer3.0.bn1.weight'
    """

    def __init__(
        self, rules: Mapping[str, str], *, older: Mapping[str, str] | None = None, dropped: Sequence[str] = ()
    ) -> None:
        self.rules = dict(rules)
        self._rules = [(_reader(source), _writer(target)) for source, target in self.rules.items()]
        self._older = NameTable(older) if older else None
        self._dropped = [_reader(pattern) for pattern in (f"*{COUNTERS}", *dropped)]

    def rename(self, name: str) -> str | None:
        """The name in the second spelling; None: no rule fits."""
        name = (self._older and self._older.rename(name)) or name
        for read, write in self._rules:
            values = read(name)
            if values is not None:
                return write(values)
        return None

    def inverse(self) -> NameTable:
        """From the second spelling to the first, never to an older one."""
        return NameTable({target: source for source, target in self.rules.items()})

    def rename_all(self, values: Mapping[str, Value]) -> tuple[dict[str, Value], list[str]]:
        """The values under their new names, and the names that no rule fits; batch norm's counters are dropped."""
        renamed, unknown = {}, []
        for name, value in values.items():
            if any(read(name) is not None for read in self._dropped):
                continue
            new = self.rename(name)
            if new is None or new in renamed:
                unknown.append(name)
            else:
                renamed[new] = value
        return renamed, unknown


def _reader(pattern: str) -> Callable[[str], dict[str, str] | None]:
    """From a name to the values of the places, None where it does not fit."""
    places = list(_PLACE.finditer(pattern))
    texts = [re.escape(text) for text in _PLACE.sub("\0", pattern).split("\0")]
    groups = [_REST if place[0] == "*" else _NUMBER for place in places]
    expression = re.compile("".join(text + group for text, group in zip(texts, [*groups, ""])))

    def read(name: str) -> dict[str, str] | None:
        match = expression.fullmatch(name)
        if match is None:
            return None
        values: dict[str, str] = {}
        for place, text in zip(places, match.groups()):
            value = text if place[0] == "*" else _solved(place, int(text))
            if value is None or values.setdefault(place[2] or "*", value) != value:
                return None
        return values

    return read


def _solved(place: re.Match[str], number: int) -> str | None:
    """The whole number that makes ``number`` at this place; None: there is none."""
    value, rest = divmod(number - int(place[3] or 0), int(place[1] or 1))
    return None if rest or value < 0 else str(value)


def _writer(pattern: str) -> Callable[[Mapping[str, str]], str]:
    """From the values of the places to a name."""

    def fill(place: re.Match[str], values: Mapping[str, str]) -> str:
        if place[0] == "*":
            return values["*"]
        return str(int(values[place[2]]) * int(place[1] or 1) + int(place[3] or 0))

    return lambda values: _PLACE.sub(lambda place: fill(place, values), pattern)
