# SPDX-License-Identifier: Apache-2.0
"""docs/solo.md: its commands are commands, its keys are keys, its tables are those of the code."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime
from typing import Any

import pytest
from documents import ROOT, blocks, ldie_commands
from ldie.cli import main
from ldie.contract import Progress
from ldie.systems.solo import SYSTEM
from ldie.systems.solo.recipe import log_line

PAGE = ROOT / "docs" / "solo.md"
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
    plain = re.findall(r"^\| `(\w+)`(?: \(default\))? \|", table, re.MULTILINE)
    (variants,) = re.findall(r"NAME is one of (.*?)\.\n`python", table, re.DOTALL)
    named = re.findall(r"`(\w+)`", variants)
    seeds = [f"seed_{name}_{schedule}" for name in named for schedule in ("1x", "3x")]
    assert sorted([*plain, *seeds]) == sorted(SYSTEM.presets)


def keys_of(section: Any, prefix: str) -> set[str]:
    """Names of all that can be set below a section, but sections of other systems, too."""
    return {f"{prefix}.{field.name}" for field in dataclasses.fields(section)}


def test_keys_of_the_page_exist_and_those_of_losses_and_results_are_all_there() -> None:
    named = set(re.findall(r"`((?:model|solver|input|test|dataset)\.[a-z_.]+[a-z])\b", TEXT))
    config: Any = SYSTEM.preset("tiny")
    for key in named:
        value = config
        for name in key.split("."):
            value = getattr(value, name)
    assert keys_of(config.test, "test") - {"test.mask_threshold"} <= named
    assert keys_of(config.solver.assign, "solver.assign") <= named
    weights = {
        f"solver.{name}" for name in ("category_weight", "mask_weight", "dice_smooth", "loss_stride", "mask_targets")
    }
    assert weights <= named


def test_the_line_of_the_page_is_a_line_of_a_run() -> None:
    """Written again from the numbers in it."""
    (line,) = blocks(TEXT, "text")
    number = r"(\d+\.?\d*)"
    epoch, step, steps, rate, time, data, memory, *losses = map(
        float,
        re.findall(
            rf"Epoch \[{number}\]\[{number}/{number}\]\tlr: {number}, .* time: {number}, data_time: {number}, "
            rf"memory: {number}, loss_cls: {number}, loss_mask: {number}, loss: {number}",
            line,
        )[0],
    )
    done = int(steps * (epoch - 1) + step)
    (eta,) = re.findall(r"eta: (\d):(\d\d):(\d\d),", line)
    left = sum(int(part) * unit for part, unit in zip(eta, (3600, 60, 1)))
    progress = Progress(
        done, 2 * done, 50 * time, left, {"solo": rate}, done / steps, 400, 50 * data, int(memory) * 2**20
    )
    means = dict(zip(("loss_cls", "loss_mask", "loss"), losses))
    now = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")
    assert log_line(progress, means, 50, now) + "\n" == line
