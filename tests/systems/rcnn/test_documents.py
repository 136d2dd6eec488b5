# SPDX-License-Identifier: Apache-2.0
"""docs/tutorial_keypoints.md and docs/rcnn.md: their lines run, at the size of a test."""

from __future__ import annotations

import json
import re
import shlex
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from documents import ROOT, python_blocks, run_clean
from ldie.cli import main
from ldie.config import load_yaml, merge
from ldie.durations import in_steps
from ldie.systems.rcnn import SYSTEM
from ldie.systems.rcnn.phases import read_phases
from PIL import Image
from systems.rcnn.helpers import make_shapes

TUTORIAL, PAGE = ROOT / "docs" / "tutorial_keypoints.md", ROOT / "docs" / "rcnn.md"
SMALL = """
solver.max_iter=3 solver.log_step=1 solver.batch_size=2 solver.data.shorter_sides=[64] input.shorter_side=64
model.backbone.widths=[8,8,16] model.box_head.channel=16 test.score_threshold=0.2
"""
SHORT = {"train": ["--set", *SMALL.split()], "benchmark": ["--repeats", "1"]}
"""What makes a command short; commands that are not here are short already."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys) -> None:
    make_shapes(tmp_path)
    (tmp_path / "shapes").rename(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(TUTORIAL, "bash") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines]
    assert [command[0] for command in commands] == ["show", "train", "eval", "predict", "benchmark", "export"]
    printed = {}
    for command in commands:
        assert main([*command, *SHORT.get(command[0], [])]) == 0, command
        printed[command[0]] = capsys.readouterr().out
    assert len(list(Path("mine_pictures").glob("train2017_*.png"))) == 6
    assert "Keypoint : " in printed["train"] and "Mask : " not in printed["train"]
    found = json.loads(Path("runs/mine/eval/metrics.json").read_text())
    assert {"keypoints/AP", "bbox/AP-circle", "proposals/AR100", "bbox/duplicates"} <= found.keys()
    assert Path("runs/mine/eval/pictures/predictions.png").is_file()
    assert len(json.loads(Path("found/predictions.json").read_text())["images"]) == len(
        list(Path("found").glob("*.png"))
    )
    assert "proposals" in printed["benchmark"] and Path("runs/mine/best.pt2").is_file()
    (code,) = python_blocks(TUTORIAL)
    assert re.search(r"^(circle|square|triangle) 0\.\d\d: top at \d+ \d+, right at ", run_clean(code, tmp_path))
    with Image.open("found.png") as picture:
        assert picture.size[0] > 64


def test_the_data_of_the_tutorial_is_as_it_says(tmp_path) -> None:
    """Its example of an annotation is data that can be learned, and left and right change places."""
    from ldie.tasks.detection import CocoDataset
    from ldie.tasks.detection.requirements import require

    (text,) = blocks(TUTORIAL, "json")
    content = json.loads(text) | {"images": [{"id": 3, "file_name": "cat.png", "height": 100, "width": 120}]}
    for folder in ("annotations", "train2017"):
        (tmp_path / folder).mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(content))
    Image.new("RGB", (120, 100)).save(tmp_path / "train2017/cat.png")
    data = CocoDataset(tmp_path, "train2017")
    require(data, keypoints="model.keypoint_head.enabled=false")
    assert data.flip_pairs == [(1, 2)]
    keypoints = data[0].keypoints
    assert keypoints is not None and torch.equal(keypoints[0, :, 2], torch.tensor([2.0, 2.0, 0.0]))


def test_the_phases_of_the_page_are_four(tmp_path) -> None:
    (text,) = blocks(PAGE, "yaml")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    values = load_yaml(file)
    config = in_steps(merge(SYSTEM.preset(str(values.pop("preset"))), values), Fraction(100))
    config.check()
    phases = read_phases(config.solver)
    assert [phase.start for phase in phases] == [0, 400, 1000, 1400]
    assert [len(phase.train) for phase in phases] == [2, 1, 1, 3]
    assert [phase.lr_factor(phase.start + 900) for phase in phases] == pytest.approx([1, 1, 0.2, 0.04])


def test_the_presets_of_the_page_are_all() -> None:
    (table,) = re.findall(r"## Presets\n(.*?)\n`ldie train", PAGE.read_text(), re.DOTALL)
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(SYSTEM.presets)


@pytest.mark.parametrize("page", [TUTORIAL, PAGE], ids=lambda page: page.stem)
def test_settings_and_commands_of_a_page_exist(page: Path, capsys) -> None:
    """Those of the lines that are not run because they need files of others."""
    text = page.read_text()
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" #")[0])
            if words[1:2] == ["train"]:
                assert main([*words[1:], "--print-config"]) == 0, line
    settings = set(re.findall(r"`((?:model|solver|input|test|dataset)\.[a-z_.]+[a-z])\b", text))
    assert len(settings) > 4
    capsys.readouterr()
    for setting in settings:
        value = SYSTEM.preset("tiny")
        for name in setting.split("."):
            value = getattr(value, name)
