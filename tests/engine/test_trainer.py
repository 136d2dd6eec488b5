# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import logging
import os
import signal

import pytest
import torch
from engine.toy import SYSTEM, ToyConfig, ToyRecipe
from ldie.config import load_yaml, merge, override
from ldie.engine import checkpoint
from ldie.engine.log import MEASURED, read_log
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError, ConfigError, TrainingError
from ldie.tasks.detection import TASK, DetectionTask

CPU = torch.device("cpu")
CLOCKS = ("trained_seconds", "interval_seconds", "interval_data_seconds")


def make_trainer(data_dir, work_dir, *settings, resume=False):
    config = dataclasses.replace(override(ToyConfig(), settings), output_dir=str(work_dir))
    config = merge(config, {"dataset": {"root": str(data_dir)}})
    return Trainer(SYSTEM, config, *TASK.open(config, ["train2017", "val2017"]), CPU, resume)


def without_time(records):
    return [{name: value for name, value in record.items() if name not in MEASURED} for record in records]


def test_cocos_table_comes_once_at_the_end(data_dir, tmp_path, caplog):
    caplog.set_level("INFO", logger="ldie")
    metrics = make_trainer(data_dir, tmp_path, "solver.eval_step=2").run()
    said = [record.getMessage() for record in caplog.records]
    assert sum("bbox/AP50" in text for text in said) == 4  # a line at every evaluation
    (table,) = [text for text in said if "maxDets" in text]
    assert table == TASK.table(metrics) and table.count("\n") == 12
    evaluations = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "eval"]
    assert evaluations[-1].items() >= metrics.items() and len(metrics) == 13


def stop_at(monkeypatch, step):
    """Sends SIGINT in the middle of the step after ``step`` steps."""
    original = ToyRecipe.train_step

    def train_step(self, batch, number):
        if number == step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, number)

    monkeypatch.setattr(ToyRecipe, "train_step", train_step)


def test_a_run_leaves_everything(data_dir, tmp_path):
    metrics = make_trainer(data_dir, tmp_path, "solver.eval_step=4").run()
    assert 0 <= metrics["bbox/AP"] <= metrics["bbox/AP50"] <= 1
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "log.jsonl", "metrics.json", "detections.json",
        "checkpoints/step_0000004.safetensors", "checkpoints/step_0000004.resume.pt",
        "checkpoints/step_0000008.safetensors", "checkpoints/step_0000008.resume.pt", "checkpoints/best.safetensors",
        "pictures/predictions.png", "pictures/warmth.png", "pictures/loss.png", "pictures/metrics.png",
    }  # fmt: skip
    records = read_log(tmp_path / "log.jsonl")
    assert [(r["kind"], r["step"]) for r in records] == [
        ("train", 2), ("train", 4), ("eval", 4), ("train", 6), ("train", 8), ("eval", 8),
    ]  # fmt: skip
    assert records[0].keys() == {
        "kind", "step", "epoch", *MEASURED, "box_loss", "score_loss:0", "lr/box", "lr/score",
    }  # fmt: skip
    header, weights = checkpoint.load_weights(checkpoint.newest(tmp_path))
    assert (header.system, header.step) == ("toy", 8)
    assert (header.facts["classes"], header.facts["category_ids"]) == (["red", "blue"], [3, 7])
    assert header.metrics == metrics
    assert weights["count"] == 8
    config = merge(ToyConfig(), load_yaml(tmp_path / "config.yaml"))
    assert config.model.num_classes == 2 and merge(ToyConfig(), header.config) == config
    assert "# command: " in (tmp_path / "config.yaml").read_text()
    detections = json.loads((tmp_path / "detections.json").read_text())
    assert [record["image_id"] for record in detections] == [11, 22, 33, 44, 55]
    assert {record["category_id"] for record in detections} <= {3, 7}


def test_without_the_best_metric_no_checkpoint_is_the_best(data_dir, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(ToyRecipe, "best_metric", "segm/AP")
    with caplog.at_level(logging.WARNING, "ldie"):
        make_trainer(data_dir, tmp_path).run()
    assert "there is no metric segm/AP" in caplog.text
    assert checkpoint.find_weights(tmp_path) == checkpoint.weights_path(tmp_path, 8)


@pytest.mark.parametrize("stop_step", [3, 6])  # inside and at the end of a logging interval, and across epochs
def test_resume_is_exact(data_dir, tmp_path, monkeypatch, stop_step):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    settings = ("solver.eval_step=6", "solver.lr_schedule=cosine", "solver.warmup_iter=3")
    expected = make_trainer(data_dir, straight, *settings).run()
    with monkeypatch.context() as patch:
        stop_at(patch, stop_step)
        assert make_trainer(data_dir, resumed, *settings).run() is None
    assert checkpoint.newest(resumed) == checkpoint.weights_path(resumed, stop_step)
    torch.rand(5)  # what else the process draws does not matter
    assert make_trainer(data_dir, resumed, *settings, resume=True).run() == expected
    for name in ("step_0000008.safetensors", "best.safetensors"):
        (_, a), (_, b) = (checkpoint.load_weights(folder / "checkpoints" / name) for folder in (straight, resumed))
        assert all(torch.equal(a[key], b[key]) for key in a) and a.keys() == b.keys()
    states = [checkpoint.load_resume(folder / "checkpoints/step_0000008.resume.pt") for folder in (straight, resumed)]
    for state in states:
        for clock in CLOCKS:
            state["run"].pop(clock)
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    logs = [without_time(read_log(folder / "log.jsonl")) for folder in (straight, resumed)]
    assert logs[0] == logs[1]


def test_a_finished_run_resumes_to_the_same_end(data_dir, tmp_path):
    metrics = make_trainer(data_dir, tmp_path).run()
    before = read_log(tmp_path / "log.jsonl")
    assert make_trainer(data_dir, tmp_path, resume=True).run() == metrics
    assert read_log(tmp_path / "log.jsonl") == before


def test_seeds_decide(data_dir, tmp_path):
    losses = []
    for i, seed in enumerate((1, 1, 2)):
        work_dir = tmp_path / str(i)
        make_trainer(data_dir, work_dir, f"seed={seed}").run()
        losses.append(without_time(read_log(work_dir / "log.jsonl")))
    assert losses[0] == losses[1] != losses[2]


def test_workers_do_not_change_the_data(data_dir, tmp_path):
    for name, workers in (("a", 0), ("b", 2)):
        make_trainer(data_dir, tmp_path / name, f"solver.num_workers={workers}", "solver.max_iter=4").run()
    logs = [without_time(read_log(tmp_path / name / "log.jsonl")) for name in "ab"]
    assert logs[0] == logs[1]


def test_training_learns(data_dir, tmp_path):
    metrics = make_trainer(data_dir, tmp_path, "solver.max_iter=150", "solver.log_step=50").run()
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert records[-1]["box_loss"] < 0.5 * records[0]["box_loss"]
    assert metrics["bbox/AP50"] > 0.2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision(data_dir, tmp_path, precision):
    settings = (f"mixed_precision={precision}", "solver.max_iter=4", "solver.save_step=2", "solver.keep_checkpoints=2")
    trainer = make_trainer(data_dir, tmp_path, *settings)
    assert trainer.run() is not None
    assert trainer.runtime.scaler.is_enabled() == (precision == "fp16")
    assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())
    assert [path.name for path in checkpoint.resumable(tmp_path)] == [
        "step_0000002.safetensors",
        "step_0000004.safetensors",
    ]
    for path in checkpoint.resume_path(checkpoint.newest(tmp_path)), checkpoint.newest(tmp_path):
        path.unlink()
    first = trainer.model.state_dict()
    second = make_trainer(data_dir, tmp_path, *settings, resume=True)
    second.run()
    assert all(torch.equal(first[name], value) for name, value in second.model.state_dict().items())


def test_a_loss_that_is_not_finite_stops_with_its_name(data_dir, tmp_path, monkeypatch):
    original = ToyRecipe.train_step

    def train_step(self, batch, step):
        terms = original(self, batch, step)
        return {**terms, "box_loss": terms["box_loss"] * (float("nan") if step == 2 else 1)}

    monkeypatch.setattr(ToyRecipe, "train_step", train_step)
    with pytest.raises(TrainingError, match="box_loss is nan at step 3"):
        make_trainer(data_dir, tmp_path, "solver.save_step=3").run()
    assert checkpoint.resumable(tmp_path) == []


def test_best_checkpoint_is_the_one_with_the_highest_metric(data_dir, tmp_path, monkeypatch):
    values = iter([0.1, 0.4, 0.3])
    monkeypatch.setattr(DetectionTask, "metrics", lambda *_, **__: {"bbox/AP": next(values)})
    make_trainer(data_dir, tmp_path, "solver.eval_step=3").run()
    header, weights = checkpoint.load_weights(tmp_path / "checkpoints" / "best.safetensors")
    assert (header.step, header.metrics, int(weights["count"])) == (6, {"bbox/AP": 0.4}, 6)


def judged(monkeypatch, *values):
    """The metric of the evaluations to come."""
    remaining = iter(values)
    monkeypatch.setattr(DetectionTask, "metrics", lambda *_, **__: {"bbox/AP": next(remaining)})


PATIENT = ("solver.eval_step=1", "solver.patience=2", "solver.max_iter=20", "solver.save_step=1")


def test_a_run_that_gets_no_better_ends(data_dir, tmp_path, monkeypatch, caplog):
    judged(monkeypatch, 0.1, 0.1, 0.3, 0.2, 0.3)
    assert make_trainer(data_dir, tmp_path, *PATIENT).run() == {"bbox/AP": 0.3}
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 5)
    header, _ = checkpoint.load_weights(tmp_path / "checkpoints" / "best.safetensors")
    assert header.step == 3
    assert (tmp_path / "detections.json").exists(), "it ends with its report"
    judged(monkeypatch)
    with caplog.at_level(logging.INFO, "ldie"):
        assert make_trainer(data_dir, tmp_path, *PATIENT, resume=True).run() == {"bbox/AP": 0.3}
    assert "the run is complete: 5 of 20 steps; raise solver.patience to go on" in caplog.text
    judged(monkeypatch, 0.4, float("nan"), 0.1, 0.1)
    make_trainer(data_dir, tmp_path, *PATIENT, "solver.patience=3", resume=True).run()
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 9)


def test_patience_goes_on_with_a_resume(data_dir, tmp_path, monkeypatch):
    judged(monkeypatch, 0.2, 0.1)
    stop_at(monkeypatch, 2)
    assert make_trainer(data_dir, tmp_path, *PATIENT).run() is None
    judged(monkeypatch, 0.1)
    assert make_trainer(data_dir, tmp_path, *PATIENT, resume=True).run() is not None
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 3)


def test_less_patience_than_there_was_already_ends_with_an_evaluation(data_dir, tmp_path, monkeypatch):
    settings = ("solver.eval_step=2", "solver.max_iter=20", "solver.patience=9")
    judged(monkeypatch, 0.3, 0.2, 0.2)
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        assert make_trainer(data_dir, tmp_path, *settings).run() is None
    judged(monkeypatch, 0.1)
    assert make_trainer(data_dir, tmp_path, *settings, "solver.patience=2", resume=True).run() == {"bbox/AP": 0.1}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"bbox/AP": 0.1}
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 7)


def test_patience_needs_evaluations(data_dir, tmp_path):
    with pytest.raises(ConfigError, match=r"solver\.patience counts evaluations; set solver\.eval_step"):
        make_trainer(data_dir, tmp_path, "solver.patience=2")


def test_a_run_is_not_overwritten_by_accident(data_dir, tmp_path):
    make_trainer(data_dir, tmp_path, "solver.max_iter=2").run()
    with pytest.raises(CheckpointError, match=r"holds a run already; add --resume .* or --overwrite"):
        make_trainer(data_dir, tmp_path)


def test_resume_needs_a_checkpoint_that_fits(data_dir, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        make_trainer(data_dir, tmp_path, resume=True)
    make_trainer(data_dir, tmp_path, "solver.max_iter=2").run()
    path = checkpoint.newest(tmp_path)
    state = checkpoint.load_resume(checkpoint.resume_path(path))
    del state["optimizers"]["score"]
    checkpoint.save_resume(checkpoint.resume_path(path), state)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        make_trainer(data_dir, tmp_path, resume=True)


def test_evaluation_leaves_training_alone(data_dir, tmp_path):
    for name, setting in (("a", "solver.eval_step=0"), ("b", "solver.eval_step=1")):
        make_trainer(data_dir, tmp_path / name, setting).run()
    logs = [[r for r in without_time(read_log(tmp_path / name / "log.jsonl")) if r["kind"] == "train"] for name in "ab"]
    assert logs[0] == logs[1]
