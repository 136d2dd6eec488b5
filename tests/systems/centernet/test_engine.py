"""CenterNet in the training loop: a run across all phases, and a resume that changes nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import signal

import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.log import read_log
from ldie.engine.trainer import Trainer
from ldie.errors import ConfigError
from ldie.systems.centernet import SYSTEM, CenterNetRecipe
from systems.centernet.helpers import make_shapes, small_config


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data"))


def make_trainer(shapes, work_dir, resume=False, **solver):
    config = dataclasses.replace(small_config(solver={"log_step": 2, **solver}), output_dir=str(work_dir))
    return Trainer(SYSTEM, config, *shapes, torch.device("cpu"), resume)


@pytest.mark.parametrize("stop_step", [2, 5])  # between two phases, and inside the last one
def test_resume_is_exact_across_phases(shapes, tmp_path, monkeypatch, stop_step):
    expected = make_trainer(shapes, tmp_path / "straight").run()
    original = CenterNetRecipe.train_step

    def interrupted(self, batch, step):
        if step == stop_step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(CenterNetRecipe, "train_step", interrupted)
        assert make_trainer(shapes, tmp_path / "resumed").run() is None
    assert make_trainer(shapes, tmp_path / "resumed", resume=True).run() == expected
    (_, straight), (_, resumed) = (
        checkpoint.load_weights(checkpoint.newest(tmp_path / folder)) for folder in ("straight", "resumed")
    )
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_each_optimizer_has_a_schedule(shapes, tmp_path):
    discriminator = {"lr_schedule": "step", "lr_decay": [3], "init_train_iter": 2}
    make_trainer(shapes, tmp_path, log_step=1, warmup_iter=2, max_iter=5, discriminator=discriminator).run()
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    cosine = [0.5 * (1 + math.cos(math.pi * step / 5)) for step in range(5)]
    detector = [2e-3 * factor * min(1, (step + 1) / 2) for step, factor in enumerate(cosine)]
    assert [record["lr/detector"] for record in records] == pytest.approx(detector)
    assert [record["lr/discriminator"] for record in records] == pytest.approx([1e-4, 2e-4, 2e-4, 2e-5, 2e-5])


def test_phases_in_epochs(shapes, tmp_path):
    samples = len(shapes[0])
    trainer = make_trainer(shapes, tmp_path, max_iter="2 epochs", detector={"init_train_iter": "1 epochs"})
    solver = trainer.model.config.solver
    assert (solver.max_iter, solver.detector.init_train_iter) == (samples, math.ceil(samples / 2))


def test_a_resume_takes_a_learning_rate_and_refuses_what_only_a_fresh_run_reads(shapes, tmp_path):
    make_trainer(shapes, tmp_path, max_iter=2, lr_schedule="step").run()
    settings = {"max_iter": 4, "lr_schedule": "step", "discriminator": {"lr": 0.5, "init_train_iter": 2}}
    with pytest.raises(ConfigError, match=r"solver\.pretrained_model cannot change where a run goes on: it has ''"):
        make_trainer(shapes, tmp_path, resume=True, pretrained_model="weights.pth", **settings)
    make_trainer(shapes, tmp_path, resume=True, **settings).run()
    records = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert [(record["lr/detector"], record["lr/discriminator"]) for record in records] == [(2e-3, 2e-4), (2e-3, 0.5)]
