# SPDX-License-Identifier: Apache-2.0
"""Experiment trackers: the interface by a recorder, and the services against their offline modes where installed."""

import importlib
import json
import logging
import struct
from types import SimpleNamespace

import pytest
from engine.command import FAST, error_line
from engine.test_trainer import make_trainer
from ldie.cli import main
from ldie.engine import trackers
from ldie.engine.log import read_log

RECORDED = ("log.to=mlflow", "solver.eval_step=4")


class Recorder:
    """Remembers what it is told."""

    def __init__(self, run):
        self.run, self.values, self.closed = run, [], False
        RECORDS.append(self)

    def log(self, values, step):
        self.values.append((step, dict(values)))

    def close(self):
        self.closed = True


RECORDS = []


@pytest.fixture
def records(monkeypatch):
    RECORDS.clear()
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", ("json", Recorder))
    return RECORDS


def test_a_tracker_gets_every_figure_once(data_dir, tmp_path, records):
    make_trainer(data_dir, tmp_path / "mine", *RECORDED, "log.project=boxes").run()
    (record,) = records
    assert (record.run.work_dir, record.run.project, record.run.step) == (tmp_path / "mine", "boxes", 0)
    assert record.run.config["solver"]["eval_step"] == 4 and record.closed
    assert [step for step, _ in record.values] == [2, 4, 4, 6, 8, 8]
    log = read_log(tmp_path / "mine" / "log.jsonl")
    train = record.values[0][1]
    assert train["train/box_loss"] == log[0]["box_loss"] and train["train/lr/box"] == 0.01
    assert train["progress/epoch"] == 0.8 and train["progress/memory"] == log[0]["memory"]
    assert record.values[2][1]["eval/bbox/AP"] == log[2]["bbox/AP"]
    assert all(isinstance(value, (int, float)) for _, values in record.values for value in values.values())


def test_a_run_that_goes_on_is_the_same_run_and_one_that_is_replaced_is_not(data_dir, tmp_path, records):
    make_trainer(data_dir, tmp_path, *RECORDED, "solver.max_iter=4").run()
    make_trainer(data_dir, tmp_path, *RECORDED, resume=True).run()
    command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(tmp_path), "--overwrite", *FAST, *RECORDED]
    assert main(command) == 0
    assert [record.run.step for record in records] == [0, 4, 0]
    assert records[0].run.id == records[1].run.id != records[2].run.id


def test_a_tracker_that_fails_does_not_cost_the_run(data_dir, tmp_path, records, monkeypatch, caplog):
    def log(self, values, step):
        if step > 2:
            raise ConnectionError("the server is gone\nand more")
        self.values.append(step)

    monkeypatch.setattr(Recorder, "log", log)
    with caplog.at_level(logging.WARNING, "ldie"):
        assert make_trainer(data_dir, tmp_path, *RECORDED).run() is not None
    assert caplog.messages.count("mlflow fails (the server is gone); going on without it") == 1
    assert len(read_log(tmp_path / "log.jsonl")) == 6 and records[0].values == [2]


def test_one_that_cannot_be_started_is_one_line_and_leaves_no_run(data_dir, tmp_path, records, monkeypatch, capsys):
    def refuse(self, run):
        raise PermissionError("no account")

    monkeypatch.setattr(Recorder, "__init__", refuse)
    command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(tmp_path), *FAST]
    line = error_line(capsys, [*command, *RECORDED])
    assert "log.to: mlflow cannot be started (no account); set it up, or leave it out" in line
    assert main(command) == 0, "there is nothing to overwrite"


def test_one_that_is_not_installed_is_named(data_dir, tmp_path, monkeypatch, capsys):
    (tmp_path / "nowhere_to_be_found").mkdir()
    monkeypatch.syspath_prepend(tmp_path)  # a folder is no package
    importlib.invalidate_caches()
    monkeypatch.setitem(trackers.TRACKERS, "wandb", ("nowhere_to_be_found", Recorder))
    line = error_line(
        capsys, ["train", "toy", "--work-dir", tmp_path / "run", "--data", data_dir, "--set", "log.to=wandb"]
    )
    assert "log.to names wandb, which is not installed; pip install nowhere_to_be_found, or leave it out" in line


def test_tensorboard_is_the_default_where_it_is_installed(monkeypatch):
    installed = {"tensorboard"}
    monkeypatch.setattr(trackers, "DEFAULT", ("tensorboard",))
    monkeypatch.setattr(trackers, "is_installed", lambda package: package in installed)
    assert trackers.chosen(None) == ("tensorboard",)
    assert trackers.chosen(()) == ()
    installed.clear()
    assert trackers.chosen(None) == ()


@pytest.mark.parametrize(("text", "names"), [("wandb,mlflow", "wandb, mlflow"), ("[]", ""), ("null", "null")])
def test_names_on_the_command_line(text, names, capsys):
    assert main(["train", "toy", "--set", f"log.to={text}", "--print-config"]) == 0
    printed = capsys.readouterr().out.partition("log:\n  to:")[2].partition("  project")[0]
    assert ", ".join(printed.replace("-", "").replace("[]", "").split()) == names
    if text == "[]":
        assert "log.to[0] must be one of tensorboard, wandb, mlflow" in error_line(
            capsys, ["train", "toy", "--set", "log.to=clearml", "--print-config"]
        )


def train_twice(data_dir, work_dir, name):
    """Four steps, and four more after a resume."""
    for steps, resume in ((4, False), (8, True)):
        settings = (f"log.to={name}", f"solver.max_iter={steps}", "log.project=toys")
        assert make_trainer(data_dir, work_dir, *settings, resume=resume).run() is not None
    records = read_log(work_dir / "log.jsonl")
    return [(record["step"], record["box_loss"]) for record in records if record["kind"] == "train"]


def test_tensorboard_files(data_dir, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    expected = train_twice(data_dir, tmp_path, "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/box_loss")] == [2, 4, 6, 8]
    found = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars("train/box_loss")]
    assert found == expected
    assert {"eval/bbox/AP", "progress/epoch", "train/lr/score"} <= set(events.Tags()["scalars"])


def test_wandb_offline(data_dir, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    expected = train_twice(data_dir, tmp_path / "mine", "wandb")
    runs = [read_wandb(path) for path in sorted((tmp_path / "mine" / "wandb").glob("offline-run-*/*.wandb"))]
    assert [(run.project, run.name, run.config["solver"]["batch_size"]) for run in runs] == [("toys", "mine", 4)] * 2
    assert len({run.id for run in runs}) == 1
    found = [pair for run in runs for pair in run.history]
    assert found == [(step, pytest.approx(loss)) for step, loss in expected]
    assert wandb.run is None, "the run is finished"


def read_wandb(path):
    """What lies in a file of the offline mode."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = SimpleNamespace(history=[])
    for data in chunks(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            run.id, run.project, run.name = record.run.run_id, record.run.project, record.run.display_name
            run.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if "train/box_loss" in items:
                run.history.append((items["_step"], items["train/box_loss"]))
    return run


def chunks(data):
    """The records of a file in LevelDB's log format after its seven bytes of header."""
    position, whole = 7, b""
    while position + 7 <= len(data):
        room = 2**15 - position % 2**15
        if room < 7:
            position += room
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def test_mlflow_in_a_folder(data_dir, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    expected = train_twice(data_dir, tmp_path / "mine", "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert run.data.params["solver.max_iter"] == "4" and run.data.tags["work_dir"] == str(tmp_path / "mine")
    history = client.get_metric_history(run.info.run_id, "train/box_loss")
    assert [(metric.step, metric.value) for metric in history] == expected
    assert "train/score_loss_0" in run.data.metrics
