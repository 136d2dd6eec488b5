"""CenterNet in the training loop: a run across all phases, and a resume that changes nothing."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.trainer import Trainer
from ldie.systems.centernet import SYSTEM, CenterNetRecipe
from systems.centernet.helpers import make_shapes, small_config


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data"))


def make_trainer(shapes, work_dir, resume=False):
    config = dataclasses.replace(small_config(solver={"log_step": 2}), output_dir=str(work_dir))
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
