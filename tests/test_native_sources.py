"""The rules of csrc/ that a compiler does not check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[1] / "csrc"
FAMILIES = sorted(folder.name for folder in CSRC.iterdir() if folder.is_dir())
SOURCES = {".h", ".cuh", ".cpp", ".cu"}


def sources(family: str) -> list[Path]:
    return [path for path in sorted((CSRC / family).iterdir()) if path.suffix in SOURCES]


def opened_namespaces(text: str) -> set[str]:
    """Those that are opened at the beginning of a line, without those inside of them."""
    names = re.findall(r"^namespace (\w[\w:]*) \{$", text, re.MULTILINE)
    return {name for name in names if name != "detail"}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_live_in_their_family(family: str) -> None:
    """Two structs of one name in one namespace are one to the linker, whichever library each was meant for."""
    room = "ldie" if family == "core" else f"ldie::{family}"
    for path in sources(family):
        namespaces = opened_namespaces(path.read_text())
        assert namespaces <= {room}, f"{path.relative_to(CSRC)} opens {sorted(namespaces)}: its names belong in {room}"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "core"])
def test_no_family_takes_in_the_names_of_another(family: str) -> None:
    for path in sources(family):
        assert "using namespace" not in path.read_text(), path.relative_to(CSRC)


def test_every_option_is_checked() -> None:
    """An enumerator comes from a schema's integer through checked_option() alone."""
    enumerations = {
        name
        for family in FAMILIES
        for path in sources(family)
        for name in re.findall(r"constexpr \w+ last_option\((\w+)\)", path.read_text())
    }
    assert len(enumerations) >= 9
    cast = re.compile(rf"(?<!last_option\()\b({'|'.join(sorted(enumerations))})\(\w")
    for family in FAMILIES:
        for path in sources(family):
            assert not cast.search(path.read_text()), f"{path.relative_to(CSRC)} casts an integer to an enumerator"
