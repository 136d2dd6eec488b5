# SPDX-License-Identifier: Apache-2.0
"""The loop and the commands with a task that has no boxes, no classes and several samples per image."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine import two_ranks_sums
from engine.sums import ACCUMULATE, QUESTIONS, SYSTEM, TASK, SumsConfig, SumsRecipe
from ldie import systems, tasks
from ldie.cli import main
from ldie.config import override
from ldie.engine import checkpoint
from ldie.engine.evaluation import evaluate
from ldie.engine.log import read_log
from ldie.engine.trainer import Trainer
from ldie.errors import ConfigError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def sums(monkeypatch):
    monkeypatch.setitem(systems.SYSTEMS, "sums", "engine.sums")
    monkeypatch.setitem(tasks.TASKS, "sums", "engine.sums")


def make_trainer(work_dir, *settings, resume=False):
    config = dataclasses.replace(override(SumsConfig(), settings), output_dir=str(work_dir))
    TASK.prepare(config)
    return Trainer(SYSTEM, config, *TASK.open(config, ["train", "val"]), CPU, resume)


def test_it_learns_to_add(tmp_path):
    metrics = make_trainer(tmp_path, "solver.max_iter=400", "solver.log_step=100").run()
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert records[-1]["loss"] < 0.1 * records[0]["loss"]
    assert metrics["sums/exact"] > 0.8


def test_every_question_of_an_image_has_its_own_result(tmp_path):
    trainer = make_trainer(tmp_path)
    results = evaluate(trainer.model, TASK, trainer.val_set, batch_size=4).results
    assert list(results) == [(image, number) for image in range(3) for number in range(QUESTIONS)]


def test_two_samples_of_one_key_are_an_error(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(type(TASK), "key", lambda self, sample: sample.image)
    with pytest.raises(ValueError, match="9 samples have only 3 different keys"):
        evaluate(trainer.model, TASK, trainer.val_set, batch_size=4)


@pytest.mark.parametrize("stop_step", [ACCUMULATE - 3, ACCUMULATE, 2 * ACCUMULATE + 5])
def test_resume_is_exact_inside_an_accumulation(tmp_path, monkeypatch, stop_step):
    expected = make_trainer(tmp_path / "straight").run()
    original = SumsRecipe.train_step

    def interrupted(self, batch, step):
        if step == stop_step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(SumsRecipe, "train_step", interrupted)
        assert make_trainer(tmp_path / "resumed").run() is None
    assert make_trainer(tmp_path / "resumed", resume=True).run() == expected
    folders = [tmp_path / name for name in ("straight", "resumed")]
    (_, a), (_, b) = (checkpoint.load_weights(checkpoint.newest(folder)) for folder in folders)
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    states = [checkpoint.load_resume(checkpoint.resume_path(checkpoint.newest(folder))) for folder in folders]
    for part in ("optimizers", "recipe", "random"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)


def test_the_resume_state_matters(tmp_path, monkeypatch):
    """Without the accumulated gradients and the batches that come again, the end is another."""
    with monkeypatch.context() as patch:
        patch.setattr(SumsRecipe, "load_resume_state", lambda self, state: None)
        make_trainer(tmp_path, "solver.max_iter=5").run()
        forgetful = make_trainer(tmp_path, resume=True)
        forgetful.run()
    straight = make_trainer(tmp_path / "straight")
    straight.run()
    assert not torch.equal(forgetful.model.words.weight, straight.model.words.weight)


def test_the_commands_need_no_pictures(tmp_path, capsys):
    run, question = tmp_path / "run", tmp_path / "question.txt"
    question.write_text("two plus one")
    assert main(["train", "sums", "--work-dir", str(run), "--device", "cpu"]) == 0
    assert "sums/exact" in capsys.readouterr().out
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "log.jsonl", "metrics.json", "answers.txt", "sums/train.json", "sums/val.json",
        "checkpoints/step_0000024.safetensors", "checkpoints/step_0000024.resume.pt", "checkpoints/best.safetensors",
        "pictures/loss.png", "pictures/metrics.png",
    }  # fmt: skip
    assert len((run / "answers.txt").read_text().splitlines()) == 3 * QUESTIONS
    header, _ = checkpoint.load_weights(checkpoint.newest(run))
    assert "plus" in header.facts["vocabulary"]
    assert main(["eval", str(run), "--device", "cpu"]) == 0
    assert json.loads((run / "eval" / "metrics.json").read_text()).keys() == {"sums/error", "sums/exact"}
    assert main(["predict", str(run), str(question), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "out" / "answers.json").read_text()).keys() == {"two plus one"}
    show = ["show", "--task", "sums", "--data", "sums", "--split", "val", "--count", "2", "--out", str(tmp_path)]
    assert main(show) == 0
    assert len((tmp_path / "questions.txt").read_text().splitlines()) == 2
    assert main(["train", "sums", "--work-dir", str(run), "--device", "cpu", "--overwrite"]) == 0


def test_an_unknown_task_is_named(capsys):
    assert main(["show", "--task", "sum", "--data", "sums"]) == 1
    assert "unknown task 'sum'; known: detection, editing, sums" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", two_ranks_sums.RECIPES)
def test_accumulation_of_four_is_the_batch_of_four_times_as_many(tmp_path, recipe):
    """In float64, with samples that go on over the end of an epoch, clipped gradients and momentum."""
    two_ranks_sums.train(tmp_path / "parts", recipe, batch_size=2, accumulate=4)
    two_ranks_sums.train(tmp_path / "whole", recipe, batch_size=8)
    parts, whole = (checkpoint.load_weights(checkpoint.newest(tmp_path / name))[1] for name in ("parts", "whole"))
    assert all(value.dtype == torch.float64 for value in parts.values())
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("parts", "whole")]
    losses = [[record["loss"] for record in log if record["kind"] == "train"] for log in logs]
    assert len(losses[0]) == 5 and losses[0] == pytest.approx(losses[1], rel=1e-6)  # terms are kept in float32


def test_an_optimizer_that_steps_twice_on_a_batch_cannot_accumulate(tmp_path, monkeypatch):
    def train_step(self, batch, step):
        for _ in range(2):
            self.runtime.update(self.optimizers["head"], self.model(batch["tokens"]).mean())
        return {}

    monkeypatch.setattr(SumsRecipe, "train_step", train_step)
    assert make_trainer(tmp_path / "one", "solver.max_iter=2").run() is not None
    with pytest.raises(ConfigError, match=r"solver\.accumulate must be 1 for this system, got 2"):
        make_trainer(tmp_path / "two", "solver.max_iter=2", "solver.accumulate=2").run()


@pytest.mark.parametrize(
    ("recipe", "batch_size", "accumulate"), [("two optimizers", 3, 1), ("one graph", 3, 1), ("one graph", 1, 3)]
)
def test_two_ranks_are_one_process_with_the_doubled_batch(tmp_path, recipe, batch_size, accumulate):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(Path(two_ranks_sums.__file__)), str(tmp_path / "two"), recipe, str(batch_size), str(accumulate)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = two_ranks_sums.train(tmp_path / "one", recipe, batch_size=6)
    (one, two) = (checkpoint.load_weights(checkpoint.newest(tmp_path / name)) for name in ("one", "two"))
    assert all(value.dtype == torch.float64 for value in one[1].values())
    torch.testing.assert_close(one[1], two[1], rtol=0, atol=1e-8)
    assert two[0].metrics == pytest.approx(metrics, abs=1e-8)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    losses = [[record["loss"] for record in log if record["kind"] == "train"] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # means over ranks are taken in float32
