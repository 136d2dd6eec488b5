# SPDX-License-Identifier: Apache-2.0
"""YAML of configurations: small documents of plain values, from files that anyone may have written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from ldie.files import first_line

NESTED, _VALUES = 20, 10_000
"""What a configuration never needs: so deeply nested, so many values (repeated ones count)."""


class _Loader(yaml.SafeLoader):
    """Reads ``5e-4`` as a number, like YAML 1.2, and no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes strings that :class:`_Loader` would take for numbers."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def parse(text: str | bytes) -> Any:
    """The value of a YAML document, in UTF-8 or with the byte order mark of UTF-16.

    Raises:
        ValueError: It has none; the message says where and why.
    """
    try:
        _check_events(yaml.parse(text, _Loader))
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"at line {mark.line + 1} " if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or first_line(error)
        raise ValueError(f"{where}({reason})") from error
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError) as error:  # a date of month 13
        raise ValueError(f"(a value does not fit its type: {first_line(error)})") from error


def _check_events(events: Iterable[yaml.Event]) -> None:
    """Refuses nesting that ends in Python's recursion limit, and aliases that repeat each other without end."""
    sizes: dict[str, int] = {}  # values in each anchor
    inside: list[tuple[str | None, int]] = []  # anchors that are open, and how many values there were before
    count = 0
    for event in events:
        problem = None
        count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, count))
            if len(inside) > NESTED:
                problem = f"nested more than {NESTED} deep"
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = inside.pop()
            if anchor:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            count += sizes.get(event.anchor or "", 0)
            if event.anchor in (anchor for anchor, _ in inside):
                problem = f"{event.anchor} contains itself"
        if count > _VALUES:
            problem = f"more than {_VALUES} values"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


def dump(values: Any) -> str:
    """Plain values as YAML text that :func:`parse` turns back into them."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)
