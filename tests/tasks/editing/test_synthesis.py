# SPDX-License-Identifier: Apache-2.0
"""``ldie synth edits``: every record gives again what was stored, over generated pictures and a COCO folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.command import error_line
from ldie.cli import main
from ldie.tasks.detection.shapes import build_shapes
from PIL import Image

from ldie_ext import Recipe


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shapes(tmp_path_factory.mktemp("data") / "shapes", train=12, val=1, size=96)


def synth(out: Path, data: str | Path, session: int, *options: str) -> list[dict[str, Any]]:
    arguments = ["synth", "edits", "--data", str(data), "--session", str(session), "--out", str(out), *options]
    assert main(arguments) == 0
    return json.loads((out / "records.json").read_text())["records"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def check(out: Path, records: list[dict[str, Any]]) -> None:
    """Each record leads from its input to its output, exactly, and its reverse nearly back."""
    for record in records:
        source, target = pixels(out / record["input"]), pixels(out / record["output"])
        recipe = Recipe.load(out / record["recipe"])
        assert np.array_equal(recipe.apply(source), target)
        assert recipe.source_hash and recipe.size == source.shape[:2]
        assert (recipe.masks is None) == (not record["objects"])
        if record["kind"] == "invertible":
            reverse = record["reverse"]
            back = Recipe.load(out / reverse["recipe"]).apply(target)
            off = float(np.sqrt(np.square(back.astype(float) - source).mean()))
            assert abs(off - reverse["distance_after"]) < 0.35, "rounding to bytes adds its 0.29 at most"
            assert reverse["distance_after"] < reverse["distance_before"]


def test_session_1_of_generated_pictures(tmp_path: Path) -> None:
    records = synth(tmp_path / "out", "synedit", 1, "--count", "12", "--size", "48", "--seed", "3")
    assert [record["kind"] for record in records] == ["invertible"] * 12
    check(tmp_path / "out", records)
    assert pixels(tmp_path / "out" / records[0]["input"]).shape == (48, 48, 3)


def test_session_1_of_a_folder(tmp_path: Path, shapes: Path) -> None:
    records = synth(tmp_path / "out", shapes, 1, "--count", "5")
    assert len(records) == 5
    check(tmp_path / "out", records)
    assert np.array_equal(pixels(tmp_path / "out" / records[0]["input"]), pixels(shapes / "train2017" / "000001.png"))


def test_the_same_seed_makes_the_same_and_fewer_are_the_first(tmp_path: Path) -> None:
    first = synth(tmp_path / "a", "synedit", 1, "--count", "4", "--size", "32")
    again = synth(tmp_path / "b", "synedit", 1, "--count", "3", "--size", "32")
    assert again == first[:3]
    for record in again:
        for name in (record["input"], record["output"], record["recipe"], record["reverse"]["recipe"]):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = synth(tmp_path / "c", "synedit", 1, "--count", "3", "--size", "32", "--seed", "1")
    assert all(a != b for a, b in zip(again, other, strict=True))


def test_larger_pictures_are_shrunk(tmp_path: Path, shapes: Path) -> None:
    records = synth(tmp_path / "out", shapes, 1, "--count", "2", "--size", "40")
    check(tmp_path / "out", records)
    assert pixels(tmp_path / "out" / records[0]["input"]).shape == (40, 40, 3)


def test_bad_input_is_one_line(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["synth", "edits", "--session", "1", "--out", out, "--data"]
    assert "no such folder; give synedit or a folder in COCO" in error_line(capsys, [*command, tmp_path / "no"])
    (tmp_path / "empty").mkdir()
    assert "no such annotation file" in error_line(capsys, [*command, tmp_path / "empty"])
    assert "name a split that is there" in error_line(capsys, [*command, shapes, "--split", "test"])
    assert "size must be 32 to 1024, got 2000" in error_line(capsys, [*command, "synedit", "--size", "2000"])
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("")
    assert "exists already" in error_line(capsys, [*command, "synedit"])
    assert [path.name for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize("options", [["--size", "31"], ["--session", "2"], ["--count", "0"], ["--seed", "-1"]])
def test_bad_usage(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["synth", "edits", "--data", "synedit", "--session", "1", "--out", str(tmp_path / "out"), *options])
    assert stopped.value.code == 2 and not list(tmp_path.iterdir())


def test_a_broken_image_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = build_shapes(tmp_path / "shapes", train=3, val=1, size=64)
    (data / "train2017" / "000002.png").write_bytes(b"no image")
    command = ["synth", "edits", "--session", "1", "--out", tmp_path / "out", "--data", data]
    assert "000002.png: not a readable image" in error_line(capsys, command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes"]
