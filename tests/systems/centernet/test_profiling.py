# SPDX-License-Identifier: Apache-2.0
"""CenterNet under ``ldie benchmark`` and ``ldie train --profile``."""

import dataclasses
import json

import ldie
import torch
from ldie.cli import main
from ldie.engine.profile import WARM_UP
from ldie.engine.trainer import Trainer
from ldie.systems.centernet import SYSTEM
from systems.centernet.helpers import make_shapes, small_config
from torch.profiler import ProfilerActivity, profile

STAGES = ["read", "input", "networks", "decode", "results"]


def test_benchmark_finds_all_stages(tmp_path, capsys):
    out = tmp_path / "report.json"
    options = ["--size", "160x224", "--batch-size", "2", "--repeats", "2", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", "centernet", *options]) == 0
    report = json.loads(out.read_text())
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages) == STAGES
    assert {name: stage["calls"] for name, stage in stages.items()} == {
        name: 1 if name == "read" else 2 for name in STAGES
    }
    assert 0.8 <= sum(stage["share"] for stage in stages.values()) <= 1.05
    assert max(stages, key=lambda name: stages[name]["share"]) == "networks"
    text = capsys.readouterr().out
    assert all(f"\n{name} " in text for name in STAGES)


def test_any_profiler_of_torch_shows_them():
    model = ldie.load("centernet", "cpu")
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        model(torch.zeros(3, 64, 64))
    labels = {event.name for event in profiler.events()}
    assert {f"ldie::{name}" for name in STAGES} <= labels


def test_profile_names_the_operators_of_a_training_step(tmp_path, caplog):
    """Detector and discriminator learn in the profiled step."""
    config = dataclasses.replace(small_config(solver={"max_iter": WARM_UP + 1}), output_dir=str(tmp_path / "run"))
    with caplog.at_level("INFO", "ldie"):
        Trainer(SYSTEM, config, *make_shapes(tmp_path / "data"), torch.device("cpu"), profile=1).run()
    (table,) = (message for message in caplog.messages if message.startswith("profiled steps: 1; "))
    rows = {line.split()[0]: line.split()[-1] for line in table.splitlines()[2:]}
    operators = {"center_targets", "center_focal_loss_from_boxes", "gather_l1_loss", "masked_scale_loss"}
    losses = operators - {"center_targets"}
    assert operators | {f"{name}_backward" for name in losses} <= rows.keys()
    assert rows["Adam.step"] == "2"
