# SPDX-License-Identifier: Apache-2.0
"""What fails after a step loses nothing: kills, errors, damaged files, a second run in the same folder."""

import dataclasses
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from engine import sums, toy
from engine.test_trainer import CLOCKS, without_time
from ldie.cli import main
from ldie.config import merge, override
from ldie.engine import checkpoint, trackers
from ldie.engine.lock import RunLock
from ldie.engine.log import RunLog, configure_console, logger, read_log
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError, DataError
from ldie.systems import centernet, editing, rcnn
from ldie.tasks.detection import build_shapes
from systems.centernet.helpers import small_config
from systems.editing.helpers import tiny_config
from systems.rcnn.helpers import SMALL

CPU = torch.device("cpu")
LAST_ONLY = "solver.keep_checkpoints=1"  # so that a run that was cut off ends with the same files
OFTEN = ("solver.save_step=1", "solver.eval_step=4", "solver.log_step=3")


def make_trainer(data_dir, work_dir, *settings, system=toy.SYSTEM, **existing):
    config = dataclasses.replace(override(system.preset(), settings), output_dir=str(work_dir))
    if data_dir:
        config = merge(config, {"dataset": {"root": str(data_dir)}})
    system.task.prepare(config)
    return Trainer(
        system, config, *system.task.open(config, [config.dataset.train, config.dataset.val]), CPU, **existing
    )


def train(data_dir, work_dir, *settings, **options):
    """Goes on with the run if there is one."""
    resume = bool(checkpoint.resumable(work_dir))
    return make_trainer(data_dir, work_dir, *settings, resume=resume, **options).run()


def ending(work_dir):
    """All that a run leaves which does not depend on the clock."""
    newest = checkpoint.newest(work_dir)
    _, weights = checkpoint.load_weights(newest)
    _, best = checkpoint.load_weights(work_dir / "checkpoints" / "best.safetensors")
    state = checkpoint.load_resume(checkpoint.resume_path(newest))
    for clock in CLOCKS:
        state["run"].pop(clock)
    log = without_time(read_log(work_dir / "log.jsonl"))
    metrics = json.loads((work_dir / "metrics.json").read_text())
    names = sorted(str(path.relative_to(work_dir)) for path in work_dir.rglob("*") if path.is_file())
    return {"weights": weights, "best": best, "state": state, "log": log, "metrics": metrics, "names": names}


def assert_equal(a, b):
    for part in a:
        if part in ("weights", "best", "state"):
            torch.testing.assert_close(a[part], b[part], rtol=0, atol=0)
        else:
            assert a[part] == b[part]


def assert_same_ending(a, b):
    assert_equal(ending(a), ending(b))


def killed_at(operation, data_dir, work_dir, settings, name):
    """Trains until the given number of training steps, predictions and file operations; no moment must be a bad one."""
    torch.set_num_threads(1)
    logging.disable()
    system = SYSTEMS[name]
    trackers.DEFAULT = ()  # as conftest.py has it in the tests' own process
    count = 0

    def counted(original):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for owner, name in ((Path, "replace"), (Path, "unlink"), (Path, "touch"), (os, "fsync"), (RunLog, "write")):
        setattr(owner, name, counted(getattr(owner, name)))
    system.recipe.train_step = counted(system.recipe.train_step)
    system.model.predict = counted(system.model.predict)
    train(data_dir, work_dir, *settings, system=system)


CENTERNET = dataclasses.replace(centernet.SYSTEM, presets={"tiny": small_config()})
RCNN = dataclasses.replace(
    rcnn.SYSTEM,
    presets={
        "tiny": merge(
            SMALL,
            {"solver": {"phases": [{"length": 4, "train": ["proposal_generator", "backbone"]}, {"length": 4}, {}]}},
        )
    },
)
EDITING = dataclasses.replace(
    editing.SYSTEM,
    presets={
        "tiny": tiny_config(
            model={"language": {"dropout": 0.2}, "discriminator": {"scales": 1, "widths": [4], "text": 4, "hidden": 4}},
            solver={"training": "adapt_gan", "batch_size": 2},
            dataset={"count": 6, "val_count": 3},
        )
    },
)
SYSTEMS = {system.name: system for system in (toy.SYSTEM, sums.SYSTEM, CENTERNET, RCNN, EDITING)}


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_a_run_killed_twenty_times_ends_as_one_that_was_not(data_dir, tmp_path, system):
    if system is not toy.SYSTEM:
        data_dir = (
            None if system in (sums.SYSTEM, EDITING) else build_shapes(tmp_path / "shapes", train=6, val=3, size=64)
        )
    settings = (*OFTEN, "solver.max_iter=12")
    train(data_dir, tmp_path / "straight", *settings, system=system)
    rng = random.Random(1)
    killed = 0
    # Of a process without threads: those of the evaluator, which ran above, do not live on in a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "hotcoco", killed_at.__module__])
    while killed < 20:
        arguments = (rng.randrange(1, 24), data_dir, tmp_path / "killed", settings, system.name)
        process = context.Process(target=killed_at, args=arguments)
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        if process.exitcode == 0:  # from the start once more: not all steps fit into so few operations
            assert_same_ending(tmp_path / "straight", tmp_path / "killed")
            shutil.rmtree(tmp_path / "killed")
    train(data_dir, tmp_path / "killed", *settings, system=system)
    assert_same_ending(tmp_path / "straight", tmp_path / "killed")


def test_an_evaluation_that_fails_costs_no_step(data_dir, tmp_path):
    broken = Path(shutil.copytree(data_dir, tmp_path / "data"))
    image = broken / "val2017" / "003.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"003\.png: not a readable image"):
        train(broken, tmp_path / "run")
    assert checkpoint.newest(tmp_path / "run") == checkpoint.weights_path(tmp_path / "run", 8)
    image.write_bytes(whole)
    metrics = train(broken, tmp_path / "run")
    assert metrics == train(data_dir, tmp_path / "straight")
    a, b = (ending(tmp_path / name) for name in ("run", "straight"))
    torch.testing.assert_close(a["weights"], b["weights"], rtol=0, atol=0)
    assert a["log"] == b["log"]


def fail_at(monkeypatch, step, error):
    """The data of the step after ``step`` steps cannot be had."""
    original = toy.ToyRecipe.collate
    calls = iter(range(1000))

    def collate(self, items):
        if next(calls) == step:
            error()
        return original(self, items)

    monkeypatch.setattr(toy.ToyRecipe, "collate", collate)


def test_whole_steps_are_saved_when_data_fails(data_dir, tmp_path, monkeypatch):
    def error():
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        fail_at(patch, 5, error)
        with pytest.raises(MemoryError, match="no room"):
            train(data_dir, tmp_path / "run")
    assert checkpoint.newest(tmp_path / "run") == checkpoint.weights_path(tmp_path / "run", 5)
    train(data_dir, tmp_path / "run", LAST_ONLY)
    train(data_dir, tmp_path / "straight", LAST_ONLY)
    assert_same_ending(tmp_path / "straight", tmp_path / "run")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), DataError("a batch that cannot be used")])
def test_an_error_inside_a_step_costs_that_step_only(data_dir, tmp_path, monkeypatch, error):
    original = toy.ToyRecipe.train_step

    def train_step(self, batch, step):
        if step == 5:
            self.model.features(batch["image"])  # moves running statistics, as a step that fails does
            raise error
        return original(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(toy.ToyRecipe, "train_step", train_step)
        with pytest.raises(type(error)):
            train(data_dir, tmp_path / "run")
    assert checkpoint.newest(tmp_path / "run") == checkpoint.weights_path(tmp_path / "run", 5)
    train(data_dir, tmp_path / "straight", "solver.max_iter=5")
    (_, a), (_, b) = (checkpoint.load_weights(checkpoint.newest(tmp_path / name)) for name in ("run", "straight"))
    for name in (name for name in a if "running" not in name and "batches" not in name):
        assert torch.equal(a[name], b[name]), name
    assert train(data_dir, tmp_path / "run") is not None


def test_half_a_step_is_not_saved(data_dir, tmp_path, monkeypatch):
    original = toy.ToyRecipe.train_step

    def train_step(self, batch, step):
        original(self, batch, step)
        if step == 3:
            raise ArithmeticError("in the middle")
        return {}

    monkeypatch.setattr(toy.ToyRecipe, "train_step", train_step)
    with pytest.raises(ArithmeticError):
        train(data_dir, tmp_path, "solver.save_step=2")
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 2)


def test_a_data_loading_process_that_dies_is_named(data_dir, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        fail_at(patch, 6, lambda: os.kill(os.getpid(), signal.SIGKILL))
        command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(run), "--device", "cpu"]
        assert main([*command, "--set", "solver.num_workers=1", "--set", "solver.save_step=1"]) == 1
    line = capsys.readouterr().err.strip()
    assert "a data-loading process died" in line and "lower solver.num_workers" in line and "\n" not in line
    assert checkpoint.newest(run) >= checkpoint.weights_path(run, 3)  # batches are loaded some steps ahead
    train(data_dir, run, LAST_ONLY)
    train(data_dir, tmp_path / "straight", LAST_ONLY)
    assert_same_ending(tmp_path / "straight", run)


def damage(path):
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", [lambda path: path, checkpoint.resume_path], ids=["weights", "resume"])
def test_a_damaged_checkpoint_falls_back_to_the_older_one(data_dir, tmp_path, caplog, part):
    settings = ("solver.save_step=3",)
    train(data_dir, tmp_path / "straight", *settings)
    shutil.copytree(tmp_path / "straight", tmp_path / "run")
    newest = checkpoint.newest(tmp_path / "run")
    damage(part(newest))
    with caplog.at_level(logging.WARNING, "ldie"):
        train(data_dir, tmp_path / "run", *settings)
    assert f"{part(newest)}: not a readable" in caplog.text
    assert "going on from the older" in caplog.text and "step_0000006" in caplog.text
    assert newest.with_name(f"{newest.name}.damaged").is_file()
    a, b = (ending(tmp_path / name) for name in ("straight", "run"))
    torch.testing.assert_close(a["weights"], b["weights"], rtol=0, atol=0)
    assert a["log"] == b["log"]


def test_when_all_are_damaged_the_newest_is_named(data_dir, tmp_path):
    train(data_dir, tmp_path)
    newest = checkpoint.newest(tmp_path)
    damage(newest)
    with pytest.raises(CheckpointError, match=f"{newest.name}: not a readable checkpoint .*checksum"):
        train(data_dir, tmp_path)
    assert newest.is_file()


def test_a_second_run_in_the_folder_is_refused(data_dir, tmp_path, capsys):
    lock = RunLock(tmp_path)
    for existing in ([], ["--overwrite"]):
        command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(tmp_path), "--device", "cpu"]
        assert main([*command, *existing]) == 1
        assert f"another run is writing there (process {os.getpid()})" in capsys.readouterr().err
    lock.release()
    assert not list(tmp_path.glob(".lock"))
    train(data_dir, tmp_path)
    assert not list(tmp_path.glob(".lock"))


def test_a_killed_run_holds_no_lock(tmp_path):
    def hold():
        lock = RunLock(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
        lock.release()

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    process.join(60)
    assert (tmp_path / ".lock").exists()
    RunLock(tmp_path).release()


def test_overwrite_clears_only_when_all_else_is_in_order(data_dir, tmp_path, monkeypatch):
    train(data_dir, tmp_path)
    before = ending(tmp_path)

    def load_pretrained(self):
        raise CheckpointError("weights.pth: no readable weights")

    with monkeypatch.context() as patch:
        patch.setattr(toy.ToyRecipe, "load_pretrained", load_pretrained)
        with pytest.raises(CheckpointError, match="no readable weights"):
            make_trainer(data_dir, tmp_path, overwrite=True)
    assert_equal(ending(tmp_path), before)
    make_trainer(data_dir, tmp_path, "solver.max_iter=2", overwrite=True).run()
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 2)


def test_what_killed_runs_left_goes(data_dir, tmp_path):
    train(data_dir, tmp_path, "solver.max_iter=4")
    left = [tmp_path / ".metrics.json.7.tmp", tmp_path / "checkpoints" / ".step_0000009.safetensors.7.tmp"]
    left.append(checkpoint.resume_path(checkpoint.weights_path(tmp_path, 9)))
    for path in left:
        path.write_text("half")
    train(data_dir, tmp_path)
    assert not any(path.exists() for path in left)


def test_the_log_keeps_its_history_from_the_first_moment_of_a_resume(tmp_path):
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write("train", step, {"loss": 1.0})
    log.write("eval", 3, {"bbox/AP": 0.5})
    log.close()
    resumed = RunLog(tmp_path, resume_step=3, evaluated_step=2)  # cut off between the evaluation and its checkpoint
    assert [(record["kind"], record["step"]) for record in read_log(tmp_path / "log.jsonl")] == [
        ("train", 1), ("train", 2), ("train", 3),
    ]  # fmt: skip
    resumed.close()


def test_a_log_on_a_full_disk_says_so(tmp_path):
    log = RunLog(tmp_path)
    log._file = Path("/dev/full").open("w")  # noqa: SIM115
    with pytest.raises(CheckpointError, match=r"log\.jsonl: cannot be written \(No space left on device\); free space"):
        log.write("train", 1, {"loss": 1.0})


def test_a_complete_run_says_so(data_dir, tmp_path, caplog):
    metrics = train(data_dir, tmp_path)
    written = (tmp_path / "detections.json").stat().st_mtime_ns
    with caplog.at_level(logging.INFO, "ldie"):
        assert train(data_dir, tmp_path) == metrics
    assert "the run is complete: 8 of 8 steps; raise solver.max_iter to go on" in caplog.text
    assert (tmp_path / "detections.json").stat().st_mtime_ns == written


def test_all_files_can_be_read_by_others(data_dir, tmp_path):
    train(data_dir, tmp_path)
    (tmp_path / "plain").touch()
    modes = {path.name: path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert set(modes.values()) == {(tmp_path / "plain").stat().st_mode}, modes


def test_a_run_outlives_the_reader_of_its_stdout(data_dir, tmp_path, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", os.fdopen(writer, "w"))
        configure_console()
        logger.info("to nobody")
        assert train(data_dir, tmp_path) is not None
    assert capsys.readouterr().err == "ldie: stdout cannot be written (Broken pipe); going on without it\n"
