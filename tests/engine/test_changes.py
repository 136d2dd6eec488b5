# SPDX-License-Identifier: Apache-2.0
"""What a run goes on with when its configuration changes: it takes effect, or it is refused by name."""

import dataclasses
import shutil

import pytest
import torch
from engine.command import FAST, error_line
from engine.test_trainer import make_trainer
from engine.toy import ToyRecipe, write_dataset
from ldie.cli import main
from ldie.engine import checkpoint
from ldie.engine.log import read_log
from ldie.errors import CheckpointError, ConfigError


def resume(run, *settings):
    return ["train", "toy", "--resume", "--work-dir", str(run), "--device", "cpu", "--set", *settings]


@pytest.fixture
def run(data_dir, tmp_path):
    command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(tmp_path / "run")]
    assert main([*command, *FAST, "solver.log_step=1"]) == 0
    return tmp_path / "run"


def rates(run):
    return [record["lr/box"] for record in read_log(run / "log.jsonl") if record["kind"] == "train"]


def test_the_learning_rate_really_changes(run):
    assert main(resume(run, "solver.lr=0.5", "solver.max_iter=6")) == 0
    assert rates(run) == [0.01] * 4 + [0.5] * 2
    state = checkpoint.load_resume(checkpoint.resume_path(checkpoint.newest(run)))
    assert {group["lr"] for optimizer in state["optimizers"].values() for group in optimizer["param_groups"]} == {0.5}
    assert all(values["step"] == 6 for values in state["optimizers"]["box"]["state"].values()), "moments go on"
    assert main(resume(run, "solver.max_iter=7")) == 0
    assert rates(run)[-1] == 0.5, "the run goes on with what it was changed to"


def test_every_option_of_an_optimizer_is_the_configurations(data_dir, tmp_path, monkeypatch):
    make_trainer(data_dir, tmp_path, "solver.max_iter=2").run()
    original = ToyRecipe.__init__

    def heavier(self, model, config, runtime):
        original(self, model, config, runtime)
        self._optimizers["score"].param_groups[0].update(momentum=0.5, weight_decay=0.1)

    monkeypatch.setattr(ToyRecipe, "__init__", heavier)
    trainer = make_trainer(data_dir, tmp_path, resume=True)
    (group,) = trainer.recipe.optimizers["score"].param_groups
    assert (group["momentum"], group["weight_decay"]) == (0.5, 0.1)


@pytest.mark.parametrize(
    "setting",
    [
        "solver.lr_decay=4", "solver.lr_gamma=0.5", "solver.lr_schedule=cosine", "solver.warmup_iter=9",
        "solver.warmup_factor=0.5", "solver.log_step=2", "solver.eval_step=1", "solver.save_step=1",
        "solver.keep_checkpoints=3", "solver.num_workers=1", "solver.ema_decay=0.5", "solver.clip=0.2",
        "solver.max_iter=2 epochs", "mixed_precision=bf16", "mixed_precision=fp16",
    ],
)  # fmt: skip
def test_what_may_change(run, setting):
    assert main(resume(run, setting) if "max_iter" in setting else resume(run, setting, "solver.max_iter=5")) == 0
    header, _ = checkpoint.load_weights(checkpoint.newest(run))
    assert header.step == 5
    key, _, value = setting.partition("=")
    if "." in key and "max_iter" not in key:
        assert str(value) in str(header.config["solver"][key.partition(".")[2]])


@pytest.mark.parametrize(
    ("setting", "old", "new"),
    [
        ("solver.batch_size=2", 4, 2),
        ("solver.accumulate=2", 1, 2),
        ("seed=1", 0, 1),
        ("dataset.val=train2017", "val2017", "train2017"),
    ],
)
def test_what_cannot_change_is_refused_by_name(run, setting, old, new, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    line = error_line(capsys, resume(run, setting, "solver.max_iter=6"))
    key = setting.partition("=")[0]
    assert f"{key} cannot change where a run goes on: it has {old!r}, got {new!r}; leave it out, or train anew" in line
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_keys_of_the_networks_cannot_change(data_dir, tmp_path, monkeypatch):
    make_trainer(data_dir, tmp_path, "solver.max_iter=2").run()
    monkeypatch.setattr(ToyRecipe, "fixed_on_resume", ("solver.clip",))
    with pytest.raises(ConfigError, match=r"solver\.clip cannot change where a run goes on: it has 1\.0, got 2\.0"):
        make_trainer(data_dir, tmp_path, "solver.clip=2", resume=True)
    trainer = make_trainer(data_dir, tmp_path, resume=True)
    networks = dataclasses.replace(trainer.config.model, num_classes=7)
    trainer.config = dataclasses.replace(trainer.config, model=networks)
    with pytest.raises(ConfigError, match=r"model\.num_classes cannot change .* it has 2, got 7"):
        trainer._load(checkpoint.newest(tmp_path))


def test_data_may_have_moved_but_not_changed(data_dir, run, tmp_path, capsys):
    moved = shutil.copytree(data_dir, tmp_path / "moved")
    command = resume(run, "solver.max_iter=5")
    assert main([*command, "--data", str(moved)]) == 0
    assert checkpoint.load_weights(checkpoint.newest(run))[0].config["dataset"]["root"] == str(moved)
    more = write_dataset(tmp_path / "more", train=12)
    line = error_line(capsys, [*command, "--data", more])
    assert f"dataset.root: {more} is not the data of this run (12 instead of 10 samples); give that" in line
    for file in (moved / "annotations").iterdir():
        file.write_text(file.read_text().replace('"blue"', '"green"'))
    assert "(other classes)" in error_line(capsys, [*command, "--data", moved])


def test_the_scale_of_fp16_goes_on(data_dir, tmp_path):
    settings = ("mixed_precision=fp16", "solver.max_iter=3")
    trainer = make_trainer(data_dir, tmp_path, *settings)
    trainer.runtime.scaler = torch.amp.GradScaler("cpu", init_scale=128.0, growth_interval=2)
    trainer.run()
    resumed = make_trainer(data_dir, tmp_path, *settings, resume=True)
    assert resumed.runtime.scaler.get_scale() == 256.0
    assert resumed.runtime.scaler.state_dict() == trainer.runtime.scaler.state_dict()


def test_a_run_of_another_version_is_named(data_dir, tmp_path):
    make_trainer(data_dir, tmp_path, "solver.max_iter=2").run()
    path = checkpoint.newest(tmp_path)
    header, weights = checkpoint.load_weights(path)
    checkpoint.save_weights(path, weights, dataclasses.replace(header, config={**header.config, "depth": 3}))
    with pytest.raises(CheckpointError, match=r"does not fit this version \(unknown configuration key depth"):
        make_trainer(data_dir, tmp_path, resume=True)
