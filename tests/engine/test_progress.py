# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: where it comes from, how far it is, how fast."""

import json
import logging
import shutil
import socket
import subprocess
import sys
import time
from datetime import datetime

import pytest
from engine.test_trainer import make_trainer
from engine.toy import ToyRecipe
from ldie.config import load_yaml
from ldie.contract import Progress, Recipe
from ldie.engine import environment
from ldie.engine.log import read_log


def starts(work_dir):
    return read_log(work_dir / "log.jsonl", ("start",))


def test_a_log_begins_with_where_it_comes_from(data_dir, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "ldie", "train", "two words"])
    before = datetime.now().astimezone().replace(microsecond=0)
    with caplog.at_level(logging.INFO, "ldie"):
        make_trainer(data_dir, tmp_path / "run", "solver.max_iter=2").run()
    make_trainer(data_dir, tmp_path / "run", "solver.max_iter=3", resume=True).run()
    first = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert (first["kind"], first["step"], first["host"]) == ("start", 0, socket.gethostname())
    assert first["work_dir"] == str(tmp_path / "run") and first["command"] == "python -m ldie train 'two words'"
    assert before <= datetime.fromisoformat(first["time"]) <= datetime.now().astimezone()
    line = next(message for message in caplog.messages if message.startswith("start: "))
    assert all(f"{name} {first[name]}" in line for name in ("time", "host", "work_dir", "command"))
    assert [record["step"] for record in starts(tmp_path / "run")] == [0, 2]
    notes = (tmp_path / "run" / "config.yaml").read_text()
    assert f"# host: {first['host']}\n" in notes and load_yaml(tmp_path / "run" / "config.yaml")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_the_commit_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "git" not in environment.origin(tmp_path)
    for arguments in (
        ["init"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "first"],
    ):  # fmt: skip
        subprocess.run(["git", *arguments], check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert environment.origin(tmp_path)["git"] == head


def test_a_machine_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment.origin(tmp_path).keys() == {"time", "host", "work_dir", "command"}


def test_progress_of_an_interval(data_dir, tmp_path, monkeypatch):
    seen = []
    transform = ToyRecipe.transform

    def slow(self, sample, rng):
        time.sleep(0.002)
        return transform(self, sample, rng)

    monkeypatch.setattr(ToyRecipe, "transform", slow)
    monkeypatch.setattr(ToyRecipe, "log_line", lambda self, progress, means: seen.append(progress) or "")
    make_trainer(data_dir, tmp_path, "solver.max_iter=5", "solver.batch_size=2", "solver.accumulate=2").run()
    assert [(progress.step, progress.epoch, progress.samples) for progress in seen] == [(2, 0.8, 8), (4, 1.6, 8)]
    assert all(0.016 <= progress.data_seconds <= progress.seconds for progress in seen), "eight samples, 2 ms each"
    assert all(progress.memory > 2**25 for progress in seen), "at least what torch takes, in bytes"
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert [record["epoch"] for record in records] == [0.8, 1.6]
    assert records[0]["samples_per_second"] == pytest.approx(seen[0].samples / seen[0].seconds, abs=1e-3)
    assert records[0]["memory"] == seen[0].memory


def test_an_interval_counts_from_the_last_line(data_dir, tmp_path, monkeypatch):
    seen = []
    make_trainer(data_dir, tmp_path, "solver.max_iter=4", "solver.log_step=3").run()
    monkeypatch.setattr(ToyRecipe, "log_line", lambda self, progress, means: seen.append(progress.samples) or "")
    make_trainer(data_dir, tmp_path, "solver.log_step=5", resume=True).run()
    assert seen == [2 * 4], "of steps 4 and 5"


def test_the_line_of_a_recipe_that_has_none_of_its_own():
    progress = Progress(20, 80, 2.0, 8.0, {"all": 0.01}, epoch=1.25, samples=64, data_seconds=0.5, memory=3 * 2**29)
    assert progress.samples_per_second == 32 and progress.eta_seconds == 24
    assert Recipe.log_line(None, progress, {"loss": 0.5}) == (
        "step 20/80 epoch 1.25 lr all 0.01 loss 0.5 32.0 samples/s (data 0.5s) 1.50 GiB eta 24s"
    )
