"""``python -m ldie_ext.info`` where something is missing: one line that says what to do, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ldie_ext"
TORCH = "import sys; sys.modules['torch'] = None\n"


def info(folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the module of a copy of the package, after some code."""
    code = f"{before}\nimport runpy; runpy.run_module('ldie_ext.info', run_name='__main__')"
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package as in a source tree that was never built."""
    shutil.copytree(PACKAGE, tmp_path / "ldie_ext", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def installed(version: str | None) -> str:
    """Code after which torch seems to be installed in that version."""
    answer = "raise metadata.PackageNotFoundError(name)" if version is None else f"return {version!r}"
    return f"from importlib import metadata\ndef version(name):\n    {answer}\nmetadata.version = version\n"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (TORCH + installed(None), "torch is not installed; pip install 'torch>=2.11'"),
        (TORCH + installed("2.9.1+cu128"), "torch 2.9.1+cu128 is too old; pip install 'torch>=2.11'"),
        (TORCH + installed("1.13.0"), "torch 1.13.0 is too old"),
        (TORCH + installed("2.11.0"), "import of torch halted"),  # torch is there and does not load
        ("", "ldie_ext has no native library in "),
    ],
)
def test_what_is_missing_is_one_line(copy: Path, before: str, expected: str) -> None:
    done = info(copy, before)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ldie_ext: {expected}") and done.stderr.count("\n") == 1
    assert "pip install" in done.stderr or "halted" in done.stderr
