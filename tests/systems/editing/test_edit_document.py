# SPDX-License-Identifier: Apache-2.0
"""docs/editing.md: what stands there runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, python_blocks
from ldie.cli import main
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
    (commands,) = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for line in commands.splitlines()]
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


def _names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())
