# SPDX-License-Identifier: Apache-2.0
"""SynEdit in a folder: what was written is what comes back, and damage is noticed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.synedit import synedit
from ldie.tasks.editing.synedit.synedit import SynEdit, SynEditConfig
from ldie.tasks.editing.synedit.synedit_pairs import OPERATORS, syn_pair
from tasks.editing.pairs import same

CONFIG = SynEditConfig(count=3, seed=5, size=32, local=0.5)


def test_files_give_back_what_was_made(tmp_path: Path) -> None:
    data = SynEdit(tmp_path, CONFIG)
    assert len(data) == 3 and [path.name for path in tmp_path.iterdir()] == [f"synedit-{CONFIG.key}"]
    for index in range(3):
        assert same(data[index], syn_pair(5, 32, CONFIG.operators, CONFIG.steps, CONFIG.local, index=index))
    assert same(data[-1], data[2])
    with pytest.raises(IndexError, match="index must be below 3, got 3"):
        data[3]


def test_a_pair_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    assert same(SynEdit(tmp_path, CONFIG)[2], SynEdit(tmp_path, replace(CONFIG, count=4))[2])
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_whole_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SynEdit(tmp_path, CONFIG)
    monkeypatch.setattr(synedit, "syn_pair", None)
    assert same(SynEdit(tmp_path, CONFIG)[1], first[1])


def overwrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def flip_a_bit(folder: Path) -> None:
    path = folder / "000001_target.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": flip_a_bit,
    "a picture gone": lambda folder: (folder / "000002_source.png").unlink(),
    "no digests": lambda folder: (folder / "digests.json").unlink(),
    "digests cut": overwrite("digests.json", b'{"pairs.json": "'),
    "digests of another kind": overwrite("digests.json", b"[1]"),
    "digests left out": overwrite("digests.json", b"{}"),
    "records of other pairs": overwrite("pairs.json", b'{"pairs": []}'),
    "all gone": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_and_repaired(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    folder = SynEdit(tmp_path, CONFIG).folder
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    with caplog.at_level(logging.WARNING, "ldie"):
        SynEdit(tmp_path, CONFIG)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert len(caplog.messages) == 1 and "made again" in caplog.messages[0]
    assert list(tmp_path.iterdir()) == [folder], "something was left behind"


def test_a_process_that_dies_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, index: int, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(synedit, "syn_pair", dies)
        SynEdit(tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())


def test_of_two_processes_the_first_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = synedit._write

    def write_after_another(folder: Path, config: SynEditConfig) -> None:
        write(folder, config)
        shutil.copytree(folder, tmp_path / f"synedit-{config.key}")

    monkeypatch.setattr(synedit, "_write", write_after_another)
    data = SynEdit(tmp_path, CONFIG)
    assert list(tmp_path.iterdir()) == [data.folder] and same(data[0], SynEdit(tmp_path, CONFIG)[0])


def test_a_file_lost_meanwhile_is_one_line(tmp_path: Path) -> None:
    data = SynEdit(tmp_path, CONFIG)
    (data.folder / "000000_source.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000000_source.png: cannot be read .*; open the data set again to repair it"):
        data[0]


def test_the_format_and_every_option_are_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        replace(CONFIG, count=4), replace(CONFIG, seed=6), replace(CONFIG, size=33), replace(CONFIG, steps=(1, 2)),
        replace(CONFIG, operators=OPERATORS[:4]), replace(CONFIG, local=0.4),
    ]  # fmt: skip
    keys = {config.key for config in (CONFIG, *others)}
    monkeypatch.setattr(synedit, "FORMAT", synedit.FORMAT + 1)
    assert len(keys | {CONFIG.key}) == 8


def test_records_are_for_people_too(tmp_path: Path) -> None:
    data = SynEdit(tmp_path, CONFIG)
    content = json.loads((data.folder / "pairs.json").read_text())
    assert content["config"]["seed"] == 5
    assert [step["name"] for step in content["pairs"][0]["steps"]] == [
        synedit.EditOp(op).name for op in data[0].ops.tolist()
    ]
    assert {"name", "colour", "size", "position", "box"} == set(content["pairs"][0]["objects"][0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"size": 2000}, "size must be 32 to 1024, got 2000"),
        ({"steps": (0, 2)}, "steps must be 1 to 6"),
        ({"local": -1}, "local must be a probability"),
    ],
)
def test_a_configuration_out_of_range(options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        SynEditConfig(**options)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be generated .*; free space or choose another folder"):
        SynEdit(tmp_path / "file", CONFIG)
