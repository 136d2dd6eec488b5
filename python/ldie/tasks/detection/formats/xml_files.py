# SPDX-License-Identifier: Apache-2.0
"""Small XML files as trees that know their lines.

Document types are refused: with them a file of a few bytes can ask for gigabytes, or for other files. Annotations have
none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from ldie.errors import DataError

_BYTES, _NESTED = 10_000_000, 20
"""What the annotation of an image never needs."""


@dataclass
class Node:
    """An element."""

    name: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, name: str) -> list[Node]:
        """The children of a name."""
        return [child for child in self.children if child.name == name]

    def find(self, name: str) -> Node | None:
        """The child of a name, if there is one.

        Raises:
            ValueError: There are several.
        """
        found = self.all(name)
        if len(found) > 1:
            raise ValueError(f"line {found[1].line}: <{name}> is in <{self.name}> twice")
        return found[0] if found else None

    def child(self, name: str) -> Node:
        """The child of a name.

        Raises:
            ValueError: There is none, or there are several.
        """
        found = self.find(name)
        if found is None:
            raise ValueError(f"line {self.line}: <{self.name}> has no <{name}>")
        return found


def read_xml(path: Path) -> Node:
    """The root of an XML file.

    Raises:
        DataError: It cannot be read, is no XML, has a document type, or is too large or too deep for an annotation.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore the file or make it readable") from error
    try:
        if len(content) > _BYTES:
            raise ValueError(f"larger than {_BYTES // 1_000_000} MB")
        return _parse(content)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise DataError(f"{path}: line {error.lineno}: not XML ({reason}); correct it or fetch it again") from error
    except (ValueError, LookupError) as error:  # a LookupError: an encoding that nobody knows
        raise DataError(f"{path}: {error}; give the annotation of one image") from error


def _parse(content: bytes) -> Node:
    parser = expat.ParserCreate()
    document = Node("", 1)
    inside = [document]

    def start(name: str, _: dict[str, str]) -> None:
        node = Node(name, parser.CurrentLineNumber)
        inside[-1].children.append(node)
        inside.append(node)
        if len(inside) > _NESTED:
            raise ValueError(f"line {node.line}: nested more than {_NESTED} deep")

    def text(characters: str) -> None:
        inside[-1].text += characters

    def refuse(*_: object) -> None:
        raise ValueError(f"line {parser.CurrentLineNumber}: has a document type, which no annotation needs")

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: inside.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)
    return document.children[0]
