# SPDX-License-Identifier: Apache-2.0
"""solver.compile: what is compiled, what is not, and that training does not notice."""

import pytest
import torch
from engine.test_sums import make_trainer as make_sums
from engine.test_trainer import make_trainer as make_toy
from ldie.engine import checkpoint, learner
from ldie.engine.log import read_log
from ldie.errors import ConfigError, TrainingError
from torch._functorch import config

COMPILE = "solver.compile=true"


@pytest.fixture(autouse=True)
def fresh_compiler():
    before = config.donated_buffer
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    config.donated_buffer = before


@pytest.fixture
def graphs(monkeypatch):
    """The compiled graphs, which run as they stand."""
    found = []

    def backend(graph, inputs):
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(learner, "BACKEND", backend)
    return found


def losses(work_dir):
    return [record["loss"] for record in read_log(work_dir / "log.jsonl") if record["kind"] == "train"]


def test_training_does_not_notice(tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "BACKEND", "aot_eager")  # both ways; two optimizers take gradients of one graph
    for name, settings in (("compiled", [COMPILE]), ("plain", [])):
        make_sums(tmp_path / name, "solver.eval_step=6", *settings).run()
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    (_, a), (_, b) = (checkpoint.load_weights(checkpoint.newest(tmp_path / name)) for name in ("compiled", "plain"))
    torch.testing.assert_close(a, b)  # under the same names


def test_only_training_is_compiled(tmp_path, graphs):
    trainer = make_sums(tmp_path, COMPILE, "solver.max_iter=2")
    assert not graphs
    with trainer.learner.eager(), torch.no_grad():
        trainer.model.predict(["two plus three"])
    assert not graphs
    trainer.run()
    assert len(graphs) >= 1
    count = len(graphs)
    make_sums(tmp_path, COMPILE, "solver.max_iter=2", resume=True).run()
    assert len(graphs) == count, "a complete run does not even begin"


def test_a_step_without_whole_modules_cannot_be_compiled(data_dir, tmp_path):
    with pytest.raises(ConfigError, match=r"solver\.compile must be false for this system"):
        make_toy(data_dir, tmp_path, COMPILE)


def test_a_compiler_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    def backend(graph, inputs):
        raise FileNotFoundError("no C++ compiler")

    monkeypatch.setattr(learner, "BACKEND", backend)
    with pytest.raises(
        TrainingError, match=r"cannot be compiled here \(.*no C\+\+ compiler.*\); set solver\.compile=false"
    ):
        make_sums(tmp_path, COMPILE).run()
    assert checkpoint.resumable(tmp_path) == []
