# SPDX-License-Identifier: Apache-2.0
"""Runs: what is kept of how they were started, what is logged, how they go on, what starts them."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.cli import main
from ldie.config import load_yaml, override
from ldie.contract import Progress
from ldie.engine import checkpoint, learner
from ldie.engine.log import read_log
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError, ConfigError
from ldie.schedule import set_learning_rates
from ldie.systems.solo import SYSTEM
from ldie.systems.solo.recipe import log_line
from ldie.tasks.detection import CocoDataset
from systems.rcnn.helpers import make_shapes, state_of
from systems.solo.helpers import CPU, SMALL, TERMS, batch_of, make_trainer, small_config, small_recipe
from torch._functorch import config as functorch

ONE_STEP = [
    "solver.max_iter=1", "solver.batch_size=2", "model.backbone.widths=[8,8,8]", "model.backbone.pyramid_channel=8",
    "model.head.channel=8", "model.head.convs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[CocoDataset, CocoDataset]:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(shapes: tuple[CocoDataset, CocoDataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps; nothing in it is to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_trainer(shapes, folder, solver={"max_iter": 4, "log_step": 2}).run()
    return folder


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_so_1_configuration_arguments_and_commit_are_kept_and_said(shapes, tmp_path, monkeypatch, caplog) -> None:
    """In the work folder's config.yaml, which trains the same again, and in the first line of the log."""
    monkeypatch.chdir(tmp_path)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init"], [*author, "commit", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *arguments], check=True, capture_output=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    command = ["python", "-m", "ldie", "train", "solo", "--set", "solver.lr=0.5"]
    monkeypatch.setattr("sys.orig_argv", command)
    with caplog.at_level(logging.INFO, "ldie"):
        trainer = make_trainer(shapes, tmp_path / "run", solver={"max_iter": 1, "lr": 0.5})
        trainer.run()
    text = (tmp_path / "run/config.yaml").read_text()
    notes = dict(re.findall(r"^# (\w+): (.*)$", text, re.MULTILINE))
    assert (notes["system"], notes["git"], notes["command"]) == ("solo", commit, " ".join(command))
    assert notes["work_dir"] == str(tmp_path / "run") and notes["host"]
    datetime.fromisoformat(notes["time"])
    values = load_yaml(tmp_path / "run/config.yaml")
    assert values["solver"]["lr"] == 0.5 and values["model"]["head"]["grids"] == [8, 6, 4]
    assert override(SMALL, []) != trainer.config
    (start,) = (line for line in caplog.messages if line.startswith("start: "))
    assert start == "start: " + ", ".join(
        f"{name} {notes[name]}" for name in ("time", "host", "git", "work_dir", "command")
    )


def test_so_1_the_kept_configuration_trains_the_same(finished, shapes, tmp_path) -> None:
    command = ["train", "--config", finished / "config.yaml", "--data", shapes[0].root, "--work-dir", tmp_path / "run"]
    assert main([*map(str, [*command[:1], "solo", *command[1:]]), "--device", "cpu"]) == 0
    assert weights_of(tmp_path / "run").keys() == weights_of(finished).keys()
    torch.testing.assert_close(weights_of(tmp_path / "run"), weights_of(finished), rtol=0, atol=0)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(checkpoint.newest(folder))[1]


def test_so_7_every_evaluation_prints_precision_and_recall(shapes, tmp_path, caplog) -> None:
    """Of boxes and masks: a line each, and at the end all that COCO's code prints."""
    with caplog.at_level(logging.INFO, "ldie"):
        metrics = make_trainer(shapes, tmp_path, solver={"max_iter": 2, "eval_step": 1}).run()
    lines = [re.findall(r"(\w+/\w+) -?\d\.\d{3}", line) for line in caplog.messages if re.match(r"step \d: ", line)]
    assert lines == [[f"{kind}/{name}" for kind in ("bbox", "segm") for name in ("AP", "AP50", "AP75", "AR100")]] * 2
    (table,) = [message for message in caplog.messages if "Average Precision  (AP)" in message]
    kinds = re.split(r"^(bbox|segm)$", table, flags=re.MULTILINE)
    assert kinds[1::2] == ["bbox", "segm"]
    for part in kinds[2::2]:
        assert part.count("(AP)") == 6 and part.count("(AR)") == 6
    assert {f"segm/{name}" for name in ("AP", "AP50", "AP75", "APs", "AR1", "AR100", "ARl")} <= metrics.keys()
    assert "proposals/AR100" not in metrics
    records = read_log(tmp_path / "log.jsonl")
    assert [record["step"] for record in records if "segm/AR100" in record] == [1, 2]


GOLDEN = (
    "2019-12-05 08:03:07,045 - INFO - Epoch [1][50/7330]\tlr: 0.00399, eta: 2 days, 21:25:59, time: 0.947, "
    "data_time: 0.116, memory: 7966, loss_cls: 0.9290, loss_mask: 1.7424, loss: 2.6714"
)


def test_the_log_line_is_the_published_one_to_the_character() -> None:
    """Step 50 of 36 epochs of 7330 steps with 16 images each, in the midst of the warm-up."""
    recipe = small_recipe(solver={"optimizer": "sgd", "lr": 0.01, "warmup_iter": 500, "warmup_factor": 1 / 3})
    steps = 36 * 7330
    eta = 2 * 86400 + 21 * 3600 + 25 * 60 + 59.5
    progress = Progress(
        step=50,
        max_step=steps,
        seconds=50 * 0.947,
        trained_seconds=eta / (steps - 50) * 50,
        lr={"solo": 0.01 * recipe.lr_factor("solo", 49)},
        epoch=50 / 7330,
        samples=50 * 16,
        data_seconds=50 * 0.116,
        memory=7966 * 2**20 + 5000,
    )
    means = {"loss_cls": 0.92904, "loss_mask": 1.74236, "loss": 2.6714}
    assert log_line(progress, means, 50, datetime(2019, 12, 5, 8, 3, 7, 45999)) == GOLDEN


def said(step: int, images: int, batch: int, **values: Any) -> str:
    """The line after a step on data of so many images, without its time."""
    fields = {
        "max_step": 1000, "seconds": 5.0, "trained_seconds": 90.0 * step, "lr": {"solo": 0.01},
        "epoch": step * batch / images, "samples": 50 * batch, "data_seconds": 0.5, "memory": 2**30, **values,
    }  # fmt: skip
    return log_line(Progress(step, **fields), {"loss": 0.5}, 50, datetime(2020, 1, 1)).partition("INFO - ")[2]


def test_the_log_line_counts_epochs_from_one_and_days_only_where_there_are_some() -> None:
    assert said(1, 100, 10).startswith(
        "Epoch [1][1/10]\tlr: 0.01000, eta: 1 day, 0:58:30, time: 0.100, data_time: 0.010"
    )
    assert said(10, 100, 10).startswith("Epoch [1][10/10]\t")
    assert said(11, 100, 10, trained_seconds=11.0).startswith("Epoch [2][1/10]\tlr: 0.01000, eta: 0:16:29, ")
    assert said(12, 95, 10).startswith("Epoch [2][2/10]\t"), "an epoch that is no whole number of steps has one more"
    assert said(7, 5, 10).startswith("Epoch [7][1/1]\t"), "more images in a batch than there are"
    assert said(1000, 100, 10).startswith("Epoch [100][10/10]\tlr: 0.01000, eta: 0:00:00, ")


def test_a_run_prints_that_line(shapes, tmp_path, caplog) -> None:
    """Also of accumulated batches: times are of a step."""
    with caplog.at_level(logging.INFO, "ldie"):
        make_trainer(shapes, tmp_path, solver={"max_iter": 4, "log_step": 2, "batch_size": 1, "accumulate": 2}).run()
    lines = [message for message in caplog.messages if " - INFO - Epoch " in message]
    number, losses = r"\d+\.\d{3}", ", ".join(rf"{name}: \d+\.\d{{4}}" for name in ("loss_cls", "loss_mask", "loss"))
    pattern = (
        r"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} - INFO - Epoch \[{}\]\[{}/3\]\tlr: 0\.00200, eta: 0:00:\d\d, "
        rf"time: {number}, data_time: {number}, memory: \d+, {losses}"
    )
    assert len(lines) == 2
    for line, (epoch, step) in zip(lines, ((1, 2), (2, 1))):
        assert re.fullmatch(pattern.replace("{{", "{").replace("}}", "}").replace("{}", "%d") % (epoch, step), line)
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert [record["step"] for record in records] == [2, 4]
    assert all(record.keys() >= {*TERMS, "lr/solo", "epoch", "seconds", "data_seconds", "memory"} for record in records)


def test_a_resumed_run_is_one_that_was_never_stopped(finished, shapes, tmp_path) -> None:
    """Bit for bit: weights, and the means of the line after the stop."""
    for steps in (1, 3, 4):
        solver = {"max_iter": steps, "log_step": 2}
        make_trainer(shapes, tmp_path, solver=solver, resume=steps > 1).run()
    torch.testing.assert_close(weights_of(tmp_path), weights_of(finished), rtol=0, atol=0)
    ours, expected = (
        [
            {name: record[name] for name in TERMS}
            for record in read_log(folder / "log.jsonl")
            if record["kind"] == "train"
        ]
        for folder in (tmp_path, finished)
    )
    assert ours == expected


FIXED = {
    "solver.optimizer=sgd": "solver.optimizer",
    "solver.pretrained=w.pth": "solver.pretrained",
    "solver.pretrained_parts=backbone": "solver.pretrained_parts",
    "input.shorter_side=48": "input.shorter_side",
    "model.head.convs=3": "model.head.convs",
    "solver.batch_size=1": "solver.batch_size",
}


@pytest.mark.parametrize("setting", FIXED)
def test_what_only_a_fresh_run_reads_or_weights_rely_on_cannot_change(shapes, finished, setting) -> None:
    config = override(small_config(solver={"max_iter": 4}), [setting, f"output_dir={finished}"])
    with pytest.raises(ConfigError, match=f"{FIXED[setting]} cannot change where a run goes on"):
        Trainer(SYSTEM, config, *shapes, CPU, resume=True)


def test_what_takes_effect_from_then_on_may_change(shapes, tmp_path) -> None:
    sgd = {"optimizer": "sgd", "sgd_style": "caffe", "max_iter": 2}
    make_trainer(shapes, tmp_path, solver=sgd).run()
    changes = {"max_iter": 3, "lr": 0.5, "weight_decay": 0.25, "focal_gamma": 1.0, "loss_stride": 2}
    trainer = make_trainer(
        shapes, tmp_path, solver={**sgd, **changes, "multi_scale_loss": False}, test={"score_thr": 0.3}, resume=True
    )
    trainer.run()
    weights, biases = trainer.recipe.optimizers["solo"].param_groups
    assert (weights["lr"], weights["weight_decay"]) == (0.5, 0.25)
    assert (biases["lr"], biases["weight_decay"]) == (1.0, 0.0)


def test_so_8_caffe_style_has_biases_learn_twice_as_fast_and_not_decay() -> None:
    """Also as the learning rate rises and falls."""
    recipe = small_recipe(solver={"optimizer": "sgd", "sgd_style": "caffe", "lr": 0.1, "weight_decay": 0.01})
    optimizer = recipe.optimizers["solo"]
    groups = [{id(weight) for weight in group["params"]} for group in optimizer.param_groups]
    for name, weight in recipe.model.named_parameters():
        assert [id(weight) in group for group in groups] == [not name.endswith(".bias"), name.endswith(".bias")]
    for factor in (0.3, 1.0, 0.01):
        set_learning_rates(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.2 * factor])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)
    (plain,) = small_recipe(solver={"optimizer": "sgd"}).optimizers["solo"].param_groups
    assert len(plain["params"]) == sum(map(len, groups))


def test_frozen_parts_do_not_learn(caplog) -> None:
    recipe = small_recipe(model={"backbone": {"freeze_at": 2}}, solver={"optimizer": "sgd", "lr": 0.1})
    before = state_of(recipe.model)
    recipe.train_step(batch_of(), 0)
    kept = [name for name, value in recipe.model.state_dict().items() if torch.equal(value, before[name])]
    assert kept and {name.split(".")[2] for name in kept if name.startswith("backbone")} == {"stem", "res2"}
    with caplog.at_level(logging.WARNING, "ldie"):
        recipe.load_pretrained()
    assert "model.backbone.freeze_at=2" in caplog.text and "solver.pretrained" in caplog.text


def test_a_run_starts_from_another_and_says_what_it_took(finished, tmp_path, caplog) -> None:
    """With other classes and grids: what does not fit starts afresh, and the list names it."""
    root = make_shapes(tmp_path, train=8)[0].root
    fewer = tuple(CocoDataset(root, split, ["square", "circle"]) for split in ("train2017", "val2017"))
    file = checkpoint.newest(finished)
    with caplog.at_level(logging.INFO, "ldie"):
        trainer = make_trainer(
            fewer,  # type: ignore[arg-type]
            tmp_path / "run",
            solver={"max_iter": 1, "pretrained": str(file)},
            model={"head": {"grids": [8, 6, 5]}},
            seed=9,
        )
    lines = [line for line in caplog.messages if "start afresh" in line]
    assert len(lines) == 1 and "\n" not in lines[0]
    assert "head.conv_cls" in lines[0] and "head.conv_mask_list.2" in lines[0]
    _, weights = checkpoint.load_weights(file)
    for name, value in trainer.model.state_dict().items():
        fresh = name.startswith(("head.conv_cls.", "head.conv_mask_list.2."))
        assert fresh or torch.equal(value, weights[name]), name
    assert trainer.run() is not None


def test_what_cannot_be_loaded_is_one_line(shapes, finished, tmp_path) -> None:
    file = str(checkpoint.newest(finished))
    with pytest.raises(ConfigError, match=r"solver\.pretrained_parts: no weight's name begins with 'roi_heads'"):
        make_trainer(shapes, tmp_path / "a", solver={"pretrained": file, "pretrained_parts": ["roi_heads"]})
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        make_trainer(shapes, tmp_path / "b", solver={"pretrained": str(tmp_path / "none.pth")})


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch):
    """Traces both ways and writes no code."""
    monkeypatch.setattr(learner, "BACKEND", "aot_eager")
    before = functorch.donated_buffer
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    functorch.donated_buffer = before  # monkeypatch would delete it


def test_compiled_networks_train_as_others(shapes, tmp_path, compiler) -> None:
    """On images of two sizes."""
    records = {}
    for name in ("plain", "compiled"):
        data = {"shorter_sides": [48, 64], "mirror": 0.0}
        solver = {"max_iter": 4, "batch_size": 1, "log_step": 1, "compile": name == "compiled", "data": data}
        trainer = make_trainer(shapes, tmp_path / name, solver=solver)
        trainer.run()
        records[name] = [record for record in read_log(tmp_path / name / "log.jsonl") if record["kind"] == "train"]
    names = {name.partition(".")[0] for name, module in trainer.model.named_modules() if module._compiled_call_impl}
    assert names == {"backbone", "levels", "head"}
    for ours, expected in zip(records["compiled"], records["plain"], strict=True):
        for term in TERMS:
            assert ours[term] == pytest.approx(expected[term], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("preset", SYSTEM.presets)
def test_presets_are_configurations(preset: str) -> None:
    config = SYSTEM.preset(preset)
    config.check()  # type: ignore[attr-defined]
    assert main(["train", "solo", "--preset", preset, "--print-config"]) == 0


def test_tiny_trains_from_the_command_line(shapes, tmp_path) -> None:
    command = ["train", "solo", "--data", str(shapes[0].root), "--work-dir", str(tmp_path), "--device", "cpu"]
    assert main([*command, "--set", *ONE_STEP]) == 0
    assert main(["predict", str(tmp_path), str(shapes[1].root / "val2017"), "--out", str(tmp_path / "found")]) == 0
    assert len(list((tmp_path / "found").glob("*.png"))) == 3
    assert (tmp_path / "pictures/predictions.png").is_file()
