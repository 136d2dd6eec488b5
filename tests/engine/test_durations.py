# SPDX-License-Identifier: Apache-2.0
import shlex
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from engine.test_trainer import make_trainer
from engine.toy import ToyConfig, ToyRecipe
from ldie.cli import main
from ldie.config import SolverConfig, load_yaml, merge, override, to_yaml
from ldie.durations import Epochs, Steps, in_steps
from ldie.engine.log import read_log
from ldie.errors import ConfigError


@pytest.mark.parametrize("text", ["12 epochs", "12epochs", "12 EPOCHS", " 12  epoch "])
def test_one_notation(text):
    solver = merge(SolverConfig(), {"max_iter": text, "lr_decay": ["8 epochs", 3], "eval_step": 2.0})
    assert (solver.max_iter, solver.lr_decay, solver.eval_step) == ("12 epochs", ("8 epochs", 3), 2)
    assert merge(SolverConfig(), {"max_iter": solver.max_iter}).max_iter == Epochs("12 epochs")


def test_on_the_command_line_and_in_files(tmp_path):
    config = override(
        ToyConfig(), ["solver.max_iter=12 epochs", "solver.lr_decay=8epochs,11 epochs", "solver.log_step=5"]
    )
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert "max_iter: 12 epochs" in to_yaml(config)
    again = merge(ToyConfig(), load_yaml(tmp_path / "config.yaml"))
    assert again == config and isinstance(again.solver.lr_decay[1], Epochs)


@pytest.mark.parametrize(
    "text", ["twelve epochs", "12 steps", "-1 epochs", "1e3 epochs", "9999999999 epochs", "epochs"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(
        ConfigError, match=r"solver\.eval_step must be a number of steps, or of epochs as in '12 epochs'"
    ):
        override(ToyConfig(), [f"solver.eval_step={text}"])


@pytest.mark.parametrize("text", ["-1", "1.5", str(2**31)])
def test_steps_are_whole_numbers_in_range(text):
    with pytest.raises(ConfigError, match=r"solver\.max_iter must be"):
        override(ToyConfig(), [f"solver.max_iter={text}"])


@pytest.mark.parametrize(
    ("text", "steps"),
    [("1 epochs", 3), ("2 epochs", 5), ("0.5 epochs", 2), ("4 epochs", 10), ("0.1 epochs", 1), ("0 epochs", 0)],
)
def test_only_the_sum_is_rounded_up(text, steps):
    """Ten samples in batches of four."""
    assert in_steps(merge(SolverConfig(), {"max_iter": text}), Fraction(10, 4)).max_iter == steps


def test_epochs_everywhere_become_steps_and_nothing_else_changes():
    @dataclass(frozen=True)
    class Part:
        begins: Steps = 0
        name: str = "3 epochs"

    @dataclass(frozen=True)
    class Whole:
        part: Part = Part()
        at: tuple[Steps, ...] = ()

    whole = merge(Whole(), {"part": {"begins": "3 epochs"}, "at": ["1 epochs", 7]})
    assert in_steps(whole, Fraction(10)) == Whole(Part(30), (10, 7))


def test_more_steps_than_a_run_can_have_are_refused():
    solver = merge(SolverConfig(), {"lr_decay": [1, "999999999 epochs"]})
    with pytest.raises(ConfigError, match=r"lr_decay\[1\] must be at most 2147483647 steps, got 999999999 epochs"):
        in_steps(solver, Fraction(10))


def test_a_run_of_two_epochs_sees_every_sample_twice(data_dir, tmp_path, monkeypatch):
    """Of ten samples in batches of four; where the run does not end at a whole batch it goes on to the next."""
    seen = Counter()
    original = ToyRecipe.transform

    def transform(self, sample, rng):
        seen[sample.image_id] += 1
        return original(self, sample, rng)

    monkeypatch.setattr(ToyRecipe, "transform", transform)
    trainer = make_trainer(data_dir, tmp_path, "solver.max_iter=2 epochs", "solver.eval_step=1 epochs")
    trainer.run()
    assert sorted(seen.values()) == [2] * 10
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "eval"] == [3, 5]
    saved = load_yaml(tmp_path / "config.yaml")["solver"]
    assert (saved["max_iter"], saved["eval_step"]) == (5, 3)


def test_the_example_of_the_documentation(tmp_path, capsys):
    """docs/training.md, as a shell splits it."""
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("ldie train"))
    assert main([*shlex.split(line)[1:], "--print-config"]) == 0
    output = capsys.readouterr().out
    assert all(entry in output for entry in ("max_iter: 12 epochs", "- 8 epochs", "- 11 epochs", "eval_step: 1 epochs"))
