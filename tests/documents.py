"""The Python code in the project's documents, and a clean interpreter to run it in."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def missing_packages(code: str) -> list[str]:
    """The packages that a block needs and that are not here."""
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    if "compat.patch()" in code:
        names.append("torchvision")
    return sorted({top for top in (name.split(".")[0] for name in names) if importlib.util.find_spec(top) is None})


def run_clean(code: str, folder: Path) -> str:
    """What a program prints that is run in a folder, by an interpreter that has imported nothing before."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def ldie_commands(text: str) -> list[list[str]]:
    """Arguments of all commands of ``ldie`` in a page's shell blocks."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line.partition(" #")[0])[1:] for line in lines]
