# SPDX-License-Identifier: Apache-2.0
"""docs/editing.md: what stands there runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, python_blocks
from ldie.cli import build_parser, main
from ldie.packages import is_installed
from PIL import Image

DOCUMENT = ROOT / "docs" / "editing.md"


def test_the_commands_and_the_program_run(
    editor_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").symlink_to(editor_run.parent)
    monkeypatch.chdir(tmp_path)
    Path("holidays").mkdir()
    pixels = np.random.default_rng(0).integers(40, 215, (320, 480, 3), np.uint8)
    for name in ("photo.jpg", "holidays/a.jpg", "holidays/b.png"):
        Image.fromarray(pixels).save(name)
    Image.new("L", (240, 160), 255).save("sky.png")
    lines = _commands(0)
    assert len(lines) == 10
    for program, command, photo, request, *options in lines:
        if "remove" in request and not is_installed("cv2"):
            continue
        assert program == "ldie" and main([command, photo, request, *options]) == 0, (command, request, options)
    assert _names("edited") == ["photo.jpg", "photo.jpg.html", "photo.jpg.json", "photo.jpg.steps"]
    assert _names("fixed") == ["a.jpg", "a.jpg.json", "b.png", "b.png.json"] and _names("again") == ["photo.jpg"]
    (code,) = python_blocks(DOCUMENT)
    capsys.readouterr()
    exec(compile(code, str(DOCUMENT), "exec"), {})
    assert "white balance" in capsys.readouterr().out and Path("look.json").exists()


def test_what_trains_is_configured_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for program, command, *options in _commands(1):
        build_parser().parse_args([command, *options])
        assert program == "ldie"
        if command == "train":
            assert main([command, *options, "--print-config"]) == 0, options
    assert "training: l1" in capsys.readouterr().out


def _commands(block: int) -> list[list[str]]:
    """The lines of one of the document's blocks of commands."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line, comments=True) for line in blocks[block].splitlines()]


def _names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())
