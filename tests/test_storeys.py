# SPDX-License-Identifier: Apache-2.0
"""Imports of the training layer go downwards only, without a circle; every import counts, also one in a function."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "ldie"

GROUND = (
    "errors", "files", "console", "threads", "config", "durations", "yaml_text", "packages", "sampling", "schedule",
    "progress", "stages", "contract", "export", "nn", "weights",
)  # fmt: skip
"""The ground floor."""
ROOMS = {
    **dict.fromkeys(GROUND, ()), "engine": (), "tasks": (), "systems": ("tasks",),
    "inference": ("engine", "systems", "tasks"), "commands": ("engine", "inference", "systems", "tasks"),
    "cli": ("__init__", "commands", "systems", "tasks"), "__main__": ("cli",), "__init__": ("inference",),
}  # fmt: skip
"""Every room of the house, and what it may import beside itself and the ground floor."""


def modules(package: Path) -> dict[str, Path]:
    """Files by module, relative to the package: ``engine.trainer``, ``tasks`` for its ``__init__``."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return names


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports, wherever in it; names that are no modules are their module's."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, inner = name.partition(".")
            if top == "ldie":
                found.add(inner if inner in known else inner.rpartition(".")[0] or "__init__")
    return found


def check(package: Path) -> None:
    """Raises an AssertionError that names an upward import, or a CycleError with the circle."""
    known = modules(package)
    graph = {name: imports(path, known) - {name} for name, path in known.items()}
    for name, targets in graph.items():
        room = name.partition(".")[0]
        assert room in ROOMS, f"{name} is in no room of the house"
        for target in targets:
            other = target.partition(".")[0]
            allowed = (*GROUND, room, *ROOMS[room])
            assert other in allowed, f"{name} imports {target}: {room} may import {', '.join(allowed)} only"
            other_system = room == "systems" and target.split(".")[:2] != name.split(".")[:2] and "." in target
            assert not (other_system and other == "systems"), f"{name} imports {target}, another system"
    TopologicalSorter(graph).prepare()


def test_imports_go_downwards() -> None:
    check(PACKAGE)


def test_the_command_line_is_there_before_torch() -> None:
    code = "import sys, ldie.cli; ldie.cli.build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode == 0


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house in order."""
    package = tmp_path / "ldie"
    for name, text in {
        "__init__": "", "contract": "import torch\n",
        "engine/__init__": "", "engine/loop": "from ldie import contract\n",
        "tasks/__init__": "", "tasks/detection": "from ldie.contract import Task\n", "systems/__init__": "",
        "systems/one": "from ldie.tasks.detection import Sample\n", "systems/two": "",
    }.items():  # fmt: skip
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    check(package)
    return package


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("engine/loop", "from ldie.tasks.detection import Sample"),
        ("engine/loop", "from ldie.systems import one"),
        ("engine/loop", "def late():\n    import ldie.systems.one"),
        ("tasks/detection", "from ldie import engine"),
        ("tasks/detection", "if TYPE_CHECKING:\n    from ldie.engine.loop import Loop"),
        ("systems/one", "from ldie.engine.loop import run"),
        ("systems/one", "from ldie.systems.two import Part"),
        ("contract", "from ldie.engine.loop import run"),
        ("contract", "from ldie import load"),
    ],
)
def test_an_upward_import_is_seen(house: Path, file: str, line: str) -> None:
    path = house / f"{file}.py"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(AssertionError, match="imports"):
        check(house)


def test_a_circle_inside_a_room_is_seen(house: Path) -> None:
    (house / "engine" / "log.py").write_text("from ldie.engine.loop import run\n")
    (house / "engine" / "loop.py").write_text("def run():\n    from ldie.engine import log\n")
    with pytest.raises(CycleError):
        check(house)
