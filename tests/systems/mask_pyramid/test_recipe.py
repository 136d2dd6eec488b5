# SPDX-License-Identifier: Apache-2.0
"""Runs: what is logged, how they go on, what starts them, what they leave."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from ldie.cli import main
from ldie.config import override
from ldie.contract import Progress
from ldie.engine import checkpoint, learner
from ldie.engine.log import read_log
from ldie.engine.trainer import Trainer
from ldie.errors import ConfigError
from ldie.systems.mask_pyramid import SYSTEM
from ldie.systems.mask_pyramid.recipe import log_line
from ldie.tasks.detection import CocoDataset
from systems.mask_pyramid.helpers import CPU, LEVELS, TERMS, batch_of, make_trainer, small_config, small_recipe
from systems.rcnn.helpers import make_shapes, state_of
from torch._functorch import config as functorch

Sets = tuple[CocoDataset, CocoDataset]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(shapes: Sets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps; nothing in it is to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_trainer(shapes, folder, solver={"max_iter": 4, "log_step": 2}).run()
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(checkpoint.newest(folder))[1]


GOLDEN = (
    "eta: 1 day, 4:08:05  iter: 240  loss: 2.9146  level_0: 0.4670  level_1: 0.5134  class: 1.9342  "
    "pyr_num_l0: 16.0000  pyr_num_l1: 11.5000  InstPyr_inst_count: 7.3333  time: 1.1284  data: 0.0311  "
    "lr: 0.007453  max mem: 6215"
)


def test_the_log_line_is_maskrcnn_benchmarks_to_the_character() -> None:
    """Step 240 of 90,000 with four images each, in the midst of the warm-up; of accumulated steps, too."""
    values = {
        "loss": 2.91464, "level_0": 0.46701, "level_1": 0.51342, "class": 1.93421,
        "pyr_num_l0": 16.0, "pyr_num_l1": 11.5, "InstPyr_inst_count": 22 / 3,
    }  # fmt: skip
    progress = Progress(
        step=240,
        max_step=90_000,
        seconds=20 * 1.12837,
        trained_seconds=240 * (101285.5 / (90_000 - 240)),
        lr={"mask_pyramid": 0.0074533},
        epoch=0.01,
        samples=80,
        data_seconds=20 * 0.03108,
        memory=6215 * 2**20 + 5000,
    )
    assert log_line(progress, values, 20) == GOLDEN


def test_a_run_prints_that_line(shapes: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With everything that is learnt, and how many are alive; also of accumulated batches: times are of a step."""
    model = {"score": {"iou_head": True}, "growth": {"guide": True}}
    solver = {"max_iter": 4, "log_step": 2, "batch_size": 1, "accumulate": 2}
    with caplog.at_level(logging.INFO, "ldie"):
        make_trainer(shapes, tmp_path, model=model, solver=solver).run()
    lines = [message for message in caplog.messages if message.startswith("eta: ")]
    names = [
        "loss", *(f"level_{level}" for level in range(LEVELS)), "class", "iou", "guide",
        *(f"pyr_num_l{level}" for level in range(LEVELS)), "InstPyr_inst_count", "time", "data",
    ]  # fmt: skip
    shown = "  ".join(rf"{name}: \d+\.\d{{4}}" for name in names)
    assert [int(re.findall(r"iter: (\d+)", line)[0]) for line in lines] == [2, 4]
    for line in lines:
        assert re.fullmatch(rf"eta: 0:00:\d\d  iter: \d  {shown}  lr: 0\.002000  max mem: \d+", line)
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert all(record.keys() >= {*TERMS, "lr/mask_pyramid", "epoch", "seconds", "memory"} for record in records)


def test_a_resumed_run_is_one_that_was_never_stopped(finished: Path, shapes: Sets, tmp_path: Path) -> None:
    """Bit for bit: weights, and the means of the line after the stop."""
    for steps in (1, 4):
        make_trainer(shapes, tmp_path, solver={"max_iter": steps, "log_step": 2}, resume=steps > 1).run()
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


def test_the_kept_configuration_trains_the_same(finished: Path, shapes: Sets, tmp_path: Path) -> None:
    command = ["--config", finished / "config.yaml", "--data", shapes[0].root, "--work-dir", tmp_path / "run"]
    assert main(["train", "mask_pyramid", *map(str, command), "--device", "cpu"]) == 0
    torch.testing.assert_close(weights_of(tmp_path / "run"), weights_of(finished), rtol=0, atol=0)


FIXED = ["model.start_stride=8", "model.mask.generation=1", "input.shorter_side=48", "solver.optimizer=sgd"]


@pytest.mark.parametrize("setting", FIXED)
def test_what_weights_rely_on_cannot_change(shapes: Sets, finished: Path, setting: str) -> None:
    config = override(small_config(solver={"max_iter": 4}), [f"output_dir={finished}"])
    extra = ["model.growth.max_alive=[8]", "model.growth.newborns=[4]"] if "stride" in setting else []
    config = override(config, [setting, *extra])
    with pytest.raises(ConfigError, match="cannot change where a run goes on"):
        Trainer(SYSTEM, config, *shapes, CPU, resume=True)


def test_what_takes_effect_from_then_on_may_change(shapes: Sets, tmp_path: Path) -> None:
    make_trainer(shapes, tmp_path, solver={"max_iter": 1}).run()
    changes = {"max_iter": 2, "lr": 0.5, "loss": {"masks": ["l1"], "missed": 1.0}, "assign": {"teach": True}}
    make_trainer(shapes, tmp_path, solver=changes, test={"paint": True, "score_thr": 0.3}, resume=True).run()


def test_a_run_starts_from_another_and_says_what_it_took(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With other classes: their layer starts afresh, and the list names it."""
    root = make_shapes(tmp_path, train=8)[0].root
    fewer = tuple(CocoDataset(root, split, ["square", "circle"]) for split in ("train2017", "val2017"))
    file = checkpoint.newest(finished)
    with caplog.at_level(logging.INFO, "ldie"):
        trainer = make_trainer(fewer, tmp_path / "run", solver={"max_iter": 1, "pretrained": str(file)}, seed=9)  # type: ignore[arg-type]
    (line,) = [line for line in caplog.messages if "start afresh" in line]
    assert "score.classes" in line and "\n" not in line
    weights = weights_of(finished)
    for name, value in trainer.model.state_dict().items():
        assert name.startswith("score.classes.") or torch.equal(value, weights[name]), name
    assert trainer.run() is not None


def test_frozen_parts_do_not_learn() -> None:
    recipe = small_recipe(model={"backbone": {"freeze_at": 2}}, solver={"optimizer": "sgd", "lr": 0.1})
    before = state_of(recipe.model)
    recipe.train_step(batch_of(), 0)
    kept = {name for name, value in recipe.model.state_dict().items() if torch.equal(value, before[name])}
    assert {name.split(".")[2] for name in kept if name.startswith("backbone")} == {"stem", "res2"}


def test_what_is_evaluated_is_of_boxes_and_masks(finished: Path) -> None:
    (record,) = (record for record in read_log(finished / "log.jsonl") if record["kind"] == "eval")
    assert {"bbox/AP", "segm/AP", "segm/AP50", "segm/AR100"} <= record.keys()
    assert not any(name.startswith(("keypoints", "proposals")) for name in record)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch):
    """Traces both ways and writes no code."""
    monkeypatch.setattr(learner, "BACKEND", "aot_eager")
    before = functorch.donated_buffer
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    functorch.donated_buffer = before  # monkeypatch would delete it


def test_compiled_networks_train_as_others(shapes: Sets, tmp_path: Path, compiler: None) -> None:
    records = {}
    for name in ("plain", "compiled"):
        solver = {"max_iter": 2, "log_step": 1, "compile": name == "compiled", "data": {"mirror": 0.0}}
        trainer = make_trainer(shapes, tmp_path / name, solver=solver)
        trainer.run()
        records[name] = [record for record in read_log(tmp_path / name / "log.jsonl") if record["kind"] == "train"]
    names = {name for name, module in trainer.model.named_modules() if module._compiled_call_impl}
    assert names == {"backbone", "features"}
    for one, other in zip(records["plain"], records["compiled"], strict=True):
        assert {n: one[n] for n in ("loss", "class")} == pytest.approx(
            {n: other[n] for n in ("loss", "class")}, rel=1e-3
        )


def test_commands_of_a_run(finished: Path, shapes: Sets, tmp_path: Path) -> None:
    """Evaluation and prediction read it; pictures are left behind."""
    assert main(["eval", str(finished), "--data", str(shapes[0].root), "--out", str(tmp_path / "eval")]) == 0
    photo = next((shapes[0].root / "val2017").iterdir())
    assert main(["predict", str(finished), str(photo), "--out", str(tmp_path / "found"), "--device", "cpu"]) == 0
    assert len(list((tmp_path / "found").glob("*.png"))) == 1
    assert (finished / "pictures/predictions.png").is_file()
