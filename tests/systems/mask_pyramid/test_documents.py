# SPDX-License-Identifier: Apache-2.0
"""docs/mask_pyramid.md: its commands are commands, its keys are keys, its tables are those of the code."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from documents import ROOT, blocks, ldie_commands
from ldie.cli import main
from ldie.contract import Progress
from ldie.systems.mask_pyramid import SYSTEM
from ldie.systems.mask_pyramid.recipe import log_line

PAGE = ROOT / "docs" / "mask_pyramid.md"
TEXT = PAGE.read_text()


def test_commands_that_train_are_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    """They need data and weights of others to run."""
    commands = ldie_commands(TEXT)
    trained = [command for command in commands if command[0] == "train"]
    assert {command[0] for command in commands} >= {"train", "eval", "predict"} and len(trained) >= 3
    for command in trained:
        assert main([*command, "--print-config"]) == 0, command


def test_presets_of_the_page_are_all() -> None:
    (table,) = re.findall(r"## Presets\n(.*?)\n`ldie train", TEXT, re.DOTALL)
    assert re.findall(r"^\| `(\w+)`(?: \(default\))? \|", table, re.MULTILINE) == list(SYSTEM.presets)


def names(section: Any, prefix: str) -> set[str]:
    """Of all keys below a section."""
    found = set()
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), f"{prefix}{field.name}"
        found |= names(value, f"{name}.") if dataclasses.is_dataclass(value) else {name}
    return found


def test_keys_of_the_page_exist_and_all_of_the_systems_own_are_there() -> None:
    named = set(re.findall(r"\b((?:model|solver|input|test|dataset)\.[a-z_.]+[a-z])\b", TEXT))
    config: Any = SYSTEM.preset("tiny")
    for key in named:
        value = config
        for name in key.split("."):
            value = getattr(value, name)
    solver = {part: getattr(config.solver, part) for part in ("loss", "assign", "stage")}
    own = names(config.model, "model.") | names(config.test, "test.")
    own |= {name for part, section in solver.items() for name in names(section, f"solver.{part}.")}
    shared = {name for name in own if name.startswith("model.backbone.")} | {"model.num_classes"}
    assert own - shared - named == set()


def test_the_line_of_the_page_is_a_line_of_a_run() -> None:
    """Written again from the numbers in it."""
    (line,) = blocks(TEXT, "text")
    values = dict(part.split(": ", 1) for part in line.rstrip().split("  "))
    hours, minutes, seconds = map(int, values.pop("eta").split(":"))
    step = int(values.pop("iter"))
    memory, rate = int(values.pop("max mem")), float(values.pop("lr"))
    time, data = float(values.pop("time")), float(values.pop("data"))
    left = 3600 * hours + 60 * minutes + seconds
    progress = Progress(
        step, 2 * step, 20 * time, left, {"mask_pyramid": rate}, 0.1, 160, 20 * data, int(memory) * 2**20
    )
    losses = {name: float(value) for name, value in values.items()}
    strides = SYSTEM.preset("tiny").model.strides  # type: ignore[attr-defined]
    assert losses.keys() >= {"loss", "class", "InstPyr_inst_count", *(f"level_{k}" for k in range(len(strides)))}
    assert log_line(progress, losses, 20) + "\n" == line
