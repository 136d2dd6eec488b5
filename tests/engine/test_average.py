# SPDX-License-Identifier: Apache-2.0
"""The moving average of weights: its values, and that everything but training has it."""

import ldie
import pytest
import torch
from engine.test_trainer import make_trainer, stop_at
from engine.toy import SYSTEM, ToyRecipe
from ldie.engine import checkpoint
from ldie.engine.average import WeightAverage
from ldie.engine.evaluation import evaluate
from ldie.engine.learner import Learner
from torch import nn

DECAY = "solver.ema_decay=0.6"


def averaged(history, decay):
    """By hand, from the tensors before the first step and after each."""
    average = dict(history[0])
    for n, weights in enumerate(history[1:]):
        d = min(decay, (1 + n) / (10 + n))
        for name, value in weights.items():
            average[name] = d * average[name] + (1 - d) * value if value.is_floating_point() else value
    return average


@pytest.fixture
def history(monkeypatch):
    """Copies of the weights, before the first step and after each of every run in the test."""
    states = []
    original = Learner.step

    def step(self, batches, number):
        if not states:
            states.append({name: value.clone() for name, value in self.model.state_dict().items()})
        terms = original(self, batches, number)
        states.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return terms

    monkeypatch.setattr(Learner, "step", step)
    return states


def test_checkpoints_evaluation_and_load_have_the_average(data_dir, tmp_path, history):
    trainer = make_trainer(data_dir, tmp_path, DECAY)
    metrics = trainer.run()
    expected = averaged(history, 0.6)
    assert len(history) == 9 and not torch.allclose(expected["box.weight"], history[-1]["box.weight"], rtol=1e-3)
    assert expected["count"] == 8 and expected["features.1.num_batches_tracked"] == 8
    for name in ("step_0000008.safetensors", "best.safetensors"):
        _, saved = checkpoint.load_weights(tmp_path / "checkpoints" / name)
        torch.testing.assert_close(saved, expected)
    loaded = ldie.load(tmp_path, "cpu").model
    torch.testing.assert_close(dict(loaded.state_dict()), expected)
    assert evaluate(loaded, SYSTEM.task, trainer.val_set, 4).metrics == metrics


def test_training_does_not_notice(data_dir, tmp_path, history):
    make_trainer(data_dir, tmp_path / "with", DECAY, "solver.eval_step=2").run()
    make_trainer(data_dir, tmp_path / "without").run()
    torch.testing.assert_close(history[8], history[-1], rtol=0, atol=0)


@pytest.mark.parametrize("stop_step", [3, 6])
def test_resume_is_exact(data_dir, tmp_path, monkeypatch, stop_step):
    settings = (DECAY, "solver.eval_step=6")
    expected = make_trainer(data_dir, tmp_path / "straight", *settings).run()
    with monkeypatch.context() as patch:
        stop_at(patch, stop_step)
        assert make_trainer(data_dir, tmp_path / "resumed", *settings).run() is None
    assert make_trainer(data_dir, tmp_path / "resumed", *settings, resume=True).run() == expected
    for load, name in ((checkpoint.load_weights, "safetensors"), (checkpoint.load_resume, "resume.pt")):
        a, b = (load(tmp_path / run / f"checkpoints/step_0000008.{name}") for run in ("straight", "resumed"))
        parts = [(a[1], b[1])] if name == "safetensors" else [(a["averaged"], b["averaged"])]
        for one, other in parts:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_resume_may_begin_and_end_an_average(data_dir, tmp_path, history):
    """It begins from the weights that are there; what learns goes on from its own weights, not from their average."""
    make_trainer(data_dir, tmp_path, "solver.max_iter=3").run()
    make_trainer(data_dir, tmp_path, "solver.max_iter=6", DECAY, resume=True).run()
    _, saved = checkpoint.load_weights(checkpoint.weights_path(tmp_path, 6))
    torch.testing.assert_close(saved, averaged(history[3:7], 0.6))
    make_trainer(data_dir, tmp_path, resume=True).run()
    make_trainer(data_dir, tmp_path / "straight").run()
    torch.testing.assert_close(history[8], history[-1], rtol=0, atol=0)


def test_a_step_whose_average_fails_is_not_saved(data_dir, tmp_path, monkeypatch):
    """The weights have moved on already, so there is nothing whole to save."""
    original = WeightAverage.update

    def update(self, model):
        if self.updates == 3:
            raise torch.OutOfMemoryError("out of memory")
        original(self, model)

    monkeypatch.setattr(WeightAverage, "update", update)
    with pytest.raises(torch.OutOfMemoryError):
        make_trainer(data_dir, tmp_path, DECAY, "solver.save_step=2").run()
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 2)


def test_pretrained_weights_are_what_an_average_begins_from(data_dir, tmp_path, monkeypatch):
    def load_pretrained(self):
        with torch.no_grad():
            self.model.box.bias.fill_(3.0)

    monkeypatch.setattr(ToyRecipe, "load_pretrained", load_pretrained)
    trainer = make_trainer(data_dir, tmp_path, DECAY)
    assert trainer.learner.result is not trainer.model
    assert (trainer.learner.result.box.bias == 3).all()


def test_a_tensor_that_modules_share_is_averaged_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

    model = Tied()
    start = model.a.weight.detach().clone()
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.a.weight += 1
    average.update(model)
    torch.testing.assert_close(average.model.b.weight, start + 0.9)
    assert average.model.a.weight is average.model.b.weight and not average.model.a.weight.requires_grad


def test_the_networks_that_learn_are_left_in_training_mode(data_dir, tmp_path):
    trainer = make_trainer(data_dir, tmp_path, DECAY, "solver.max_iter=1")
    trainer.run()
    assert trainer.model.training and not trainer.learner.result.training
