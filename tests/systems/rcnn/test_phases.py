"""KR-19: which parts learn when, at what rate, and what the others keep."""

from __future__ import annotations

import math
import os
import signal
from contextlib import ExitStack
from unittest.mock import patch

import pytest
import torch
from ldie.config import override
from ldie.durations import Epochs
from ldie.engine import checkpoint
from ldie.engine.log import read_log
from ldie.engine.trainer import Trainer
from ldie.errors import ConfigError
from ldie.systems.rcnn import RCNN, SYSTEM, RCNNRecipe, training
from ldie.systems.rcnn.config import PhaseConfig, RCNNSolver
from ldie.systems.rcnn.phases import phase_at, read_phases
from ldie.tasks.detection import CocoDataset
from ldie.tasks.detection.batches import network_input
from systems.rcnn.helpers import (
    CPU,
    HEAD_LOSSES,
    PARTS,
    PROPOSAL_LOSSES,
    SMALL,
    batch_of,
    changed_parts,
    facts_of,
    make_shapes,
    make_trainer,
    small_config,
    small_recipe,
    state_of,
)
from torch import nn

import ldie_ext

BATCH_NORM = {
    "backbone": {"normalization": "batch", "pyramid_norm": "batch"},
    "box_head": {"convs": 1, "normalization": "batch"},
    "mask_head": {"normalization": "batch"},
}
RPN = ["backbone", "proposal_generator"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data"))


def recipe_with(*trained, **solver):
    """Batch norms everywhere, and a phase of two steps for each of these."""
    phases = [{"length": 2, "train": list(parts)} for parts in trained]
    return small_recipe(model=BATCH_NORM, solver={"phases": phases, **solver})


ALL_LOSSES = PROPOSAL_LOSSES | HEAD_LOSSES
LEARN = {
    ("backbone", "proposal_generator"): PROPOSAL_LOSSES,
    ("proposal_generator",): PROPOSAL_LOSSES,
    ("roi_heads",): HEAD_LOSSES,
    ("backbone", "roi_heads"): HEAD_LOSSES,
    ("proposal_generator", "roi_heads"): ALL_LOSSES,
    ("backbone",): ALL_LOSSES,
    PARTS: ALL_LOSSES,
}


@pytest.mark.parametrize(("parts", "losses"), LEARN.items(), ids=map("+".join, LEARN))
def test_kr_19_only_what_a_phase_names_learns_and_the_rest_keeps_weights_and_statistics(parts, losses):
    recipe = recipe_with(parts)
    before = state_of(recipe.model)
    assert any(name.endswith("running_mean") for name in before)
    for step in range(3):
        terms = recipe.train_step(batch_of(), step)
    assert changed_parts(recipe.model, before) == set(parts)
    assert set(terms) == losses | {"total_loss"}
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in terms.values())
    assert all(
        (weight.grad is None) == (name.partition(".")[0] not in parts)
        for name, weight in recipe.model.named_parameters()
    )


def test_kr_19_losses_that_a_phase_does_not_need_are_not_computed():
    """No proposals, pooling or heads while only proposals learn; no targets of anchors while only heads do."""
    recipe = recipe_with(RPN, ["roi_heads"], PARTS)
    called = []
    for step in (0, 2, 4):
        with ExitStack() as stack:
            spies = {
                name: stack.enter_context(patch.object(owner, name, wraps=getattr(owner, name)))
                for owner, name in (
                    (training, "anchor_targets"),
                    (training, "sample_regions"),
                    (recipe.model.proposal_generator, "propose"),
                    (recipe.model, "pool"),
                )
            }
            recipe.train_step(batch_of(), step)
        called.append({name: spy.call_count for name, spy in spies.items() if spy.called})
    heads = {"propose": 1, "sample_regions": 1, "pool": 3}
    assert called == [{"anchor_targets": 1}, heads, {"anchor_targets": 1, **heads}]


def test_kr_19_alternating_phases_take_turns_and_the_last_goes_on():
    recipe = recipe_with(RPN, ["roi_heads"], RPN, PARTS)
    learned = []
    for step in range(10):
        before = state_of(recipe.model)
        recipe.train_step(batch_of(), step)
        learned.append(changed_parts(recipe.model, before))
    assert learned == [set(RPN)] * 2 + [{"roi_heads"}] * 2 + [set(RPN)] * 2 + [set(PARTS)] * 4


def test_kr_19_what_learns_again_takes_up_its_momentum_and_frozen_weights_do_not_decay():
    recipe = recipe_with(PARTS, ["roi_heads"], PARTS, optimizer="sgd", lr=0.01, weight_decay=0.1)
    weight = recipe.model.proposal_generator.rpn_head.conv.weight
    seen = []
    for step in range(6):
        recipe.train_step(batch_of(), step)
        seen.append((weight.detach().clone(), recipe.optimizers["rcnn"].state[weight]["momentum_buffer"].clone()))
    assert torch.equal(seen[1][0], seen[3][0]) and torch.equal(seen[1][1], seen[3][1])
    torch.testing.assert_close(seen[4][0], seen[3][0] - 0.01 * seen[4][1])  # 0.9 of the old momentum is in it


def test_kr_19_the_same_phase_object_may_come_twice():
    first, second = PhaseConfig(length=3, train=("backbone",)), PhaseConfig(length=2, train=("roi_heads",))
    solver = RCNNSolver(max_iter=20, lr_schedule="cosine", phases=(first, second, first, second, first))
    phases = read_phases(solver)
    assert [phase.start for phase in phases] == [0, 3, 5, 8, 10]
    assert [phase.schedule.max_iter for phase in phases] == [3, 2, 3, 2, 10]
    assert [phase_at(phases, step).start for step in (0, 2, 3, 4, 5, 9, 10, 99)] == [0, 0, 3, 3, 5, 8, 10, 10]


def test_kr_19_every_phase_has_its_own_rate_schedule_and_warm_up(shapes, tmp_path):
    """The rates that the optimizer's steps were taken with, one after the other."""
    phases = [
        {"length": 4, "train": RPN, "lr": 0.1, "warmup_iter": 2, "lr_schedule": "step", "lr_decay": [3]},
        {"length": 4, "train": ["roi_heads"], "lr_schedule": "cosine", "warmup_iter": 0},
        {"train": list(PARTS), "lr": 0.01, "lr_schedule": "step", "lr_gamma": 0.5},
    ]
    solver = {"optimizer": "sgd", "lr": 0.02, "lr_decay": [2], "warmup_iter": 1, "warmup_factor": 0.25, "max_iter": 12}
    rates = []
    step = torch.optim.SGD.step

    def noted(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    with patch.object(torch.optim.SGD, "step", noted):
        make_trainer(shapes, tmp_path, solver={**solver, "phases": phases, "log_step": 1, "gradient_clip": 1.0}).run()
    expected = [
        *(0.1 * factor for factor in (0.25, 0.25 + 0.75 / 2, 1.0, 0.1)),
        *(0.02 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)),
        *(0.01 * factor for factor in (0.25, 1.0, 0.5, 0.5)),
    ]
    assert rates == pytest.approx(expected)
    logged = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert [record["lr/rcnn"] for record in logged] == pytest.approx(expected)
    assert [set(record) & ALL_LOSSES for record in logged] == (
        [PROPOSAL_LOSSES] * 4 + [HEAD_LOSSES] * 4 + [ALL_LOSSES] * 4
    )


def test_kr_19_a_phase_says_only_what_is_its_own():
    phases = (PhaseConfig(length=3, train=("backbone",)), PhaseConfig())
    phases = read_phases(RCNNSolver(max_iter=9, lr=0.04, lr_decay=(1,), phases=phases))
    assert [phase_at(phases, step).lr_factor(step) for step in range(6)] == pytest.approx([1, 0.1, 0.1, 1, 0.1, 0.1])
    (alone,) = read_phases(RCNNSolver(max_iter=9, lr_decay=(1,)))
    assert (alone.start, alone.train) == (0, PARTS)
    assert [alone.lr_factor(step) for step in range(3)] == pytest.approx([1, 0.1, 0.1])


def test_kr_19_lengths_in_epochs(shapes, tmp_path):
    """Six images in batches of two."""
    phases = [{"length": "1 epochs", "train": RPN, "lr_decay": ["0.5 epochs"]}, {"train": ["roi_heads"]}]
    trainer = make_trainer(shapes, tmp_path, solver={"max_iter": "3 epochs", "phases": phases})
    first, second = trainer.recipe.phases
    assert (first.start, first.schedule.max_iter, first.schedule.lr_decay) == (0, 3, (2,))
    assert (second.start, second.schedule.max_iter) == (3, 6)


@pytest.mark.parametrize("stop_step", [3, 4, 7])  # inside the first phase, between two, inside the last
def test_kr_19_a_resume_in_the_middle_of_a_phase_equals_a_run_without_one(shapes, tmp_path, monkeypatch, stop_step):
    phases = [
        {"length": 4, "train": RPN, "lr_schedule": "cosine"},
        {"length": 2, "train": ["roi_heads"], "lr": 1e-3},
        {"train": list(PARTS), "warmup_iter": 2},
    ]
    sections = {"model": BATCH_NORM, "solver": {"phases": phases, "max_iter": 9}}
    expected = make_trainer(shapes, tmp_path / "straight", **sections).run()
    original = RCNNRecipe.train_step

    def interrupted(self, batch, step):
        if step == stop_step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, step)

    with monkeypatch.context() as context:
        context.setattr(RCNNRecipe, "train_step", interrupted)
        assert make_trainer(shapes, tmp_path / "resumed", **sections).run() is None
    assert make_trainer(shapes, tmp_path / "resumed", resume=True, **sections).run() == expected
    (_, straight), (_, resumed) = (
        checkpoint.load_weights(checkpoint.newest(tmp_path / folder)) for folder in ("straight", "resumed")
    )
    torch.testing.assert_close(straight, resumed, rtol=0, atol=0)


def test_kr_19_an_evaluation_leaves_frozen_statistics_alone(shapes, tmp_path):
    """After it networks go back into training mode, but for those that do not learn."""
    sections = {"model": BATCH_NORM, "solver": {"phases": [{"train": ["roi_heads"]}], "max_iter": 4, "eval_step": 2}}
    trainer = make_trainer(shapes, tmp_path, **sections)
    before = state_of(trainer.model)
    trainer.run()
    assert changed_parts(trainer.model, before) == {"roi_heads"}
    norms = [name for name, module in trainer.model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert {name.partition(".")[0] for name in norms if trainer.model.get_submodule(name).training} == {"roi_heads"}


def test_kr_19_phases_may_change_where_a_run_goes_on(shapes, tmp_path):
    """Nothing that is saved depends on them; they take effect from there on."""
    first = {"phases": [{"train": RPN}], "max_iter": 2}
    make_trainer(shapes, tmp_path, solver=first).run()
    more = {"phases": [{"length": 2, "train": RPN}, {"train": ["roi_heads"], "lr": 0.5}], "max_iter": 4, "log_step": 1}
    make_trainer(shapes, tmp_path, resume=True, solver=more).run()
    logged = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "train"]
    assert [(record["step"], record["lr/rcnn"]) for record in logged] == [(3, 0.5), (4, 0.5)]


ERRORS = {
    "[{length: 3, train: []}, {}]": r"solver\.phases\[0\]\.train must have one of backbone, proposal_generator, roi_h",
    "[{train: [backbone]}, {}]": r"solver\.phases\[0\]\.length must be at least 1, got 0; only the last phase may",
    "[{length: 1}, {length: 0}, {}]": r"solver\.phases\[1\]\.length must be at least 1, got 0",
    "[{length: 0 epochs}, {}]": r"solver\.phases\[0\]\.length must be at least 1, got 0",
    "[{length: -1}]": r"solver\.phases\[0\]\.length must be at least 0, got -1",
    "[{train: [head]}]": r"solver\.phases\[0\]\.train\[0\] must be one of backbone, proposal_generator, roi_heads",
    "[{lr: 0}]": r"solver\.phases\[0\]\.lr must be positive and finite, got 0",
    "[{freeze: [backbone]}]": r"unknown configuration key solver\.phases\[0\]\.freeze",
    "3": r"solver\.phases.* got 3",
}


@pytest.mark.parametrize("phases", ERRORS)
def test_kr_19_phases_that_cannot_be_are_one_line(shapes, tmp_path, phases):
    with pytest.raises(ConfigError, match=ERRORS[phases]) as error:
        config = override(SMALL, [f"solver.phases={phases}", f"output_dir={tmp_path}"])
        Trainer(SYSTEM, config, *shapes, CPU)
    assert "\n" not in str(error.value)


def test_a_length_in_epochs_is_none_that_is_missing():
    """A model alone is made before the data is opened."""
    config = small_config(solver={"phases": [{"length": "2 epochs", "train": RPN}, {}]})
    assert config.solver.phases[0].length == Epochs("2 epochs")
    RCNN.from_config(config, facts_of(config))


@torch.no_grad()
def average_recall(model: RCNN, data: CocoDataset) -> float:
    """AR100: part of the objects that one of 100 proposals stands for, on average over IoU of .50 to .95."""
    found = []
    for sample in data:
        sizes = torch.tensor([sample.image.shape[1:]])
        images = network_input(sample.image[None], sizes, model.config.input)
        outlook = model.proposal_generator(model.backbone(images), tuple(sizes[0].tolist()))
        (boxes,), (count,) = model.proposal_generator.propose(outlook, sizes, training=False)
        best = ldie_ext.box_iou(sample.boxes, boxes[: min(100, count)]).amax(1)
        found.append(best[:, None] >= torch.arange(0.5, 1.0, 0.05))
    return torch.cat(found).double().mean().item()


def test_kr_19_ar100_rises_while_only_proposals_learn(tmp_path):
    data = make_shapes(tmp_path, train=16, val=1)
    proposals = {"pre_nms_test": 100, "post_nms_test": 100}
    solver = {"phases": [{"train": RPN}], "max_iter": 120, "batch_size": 4, "lr": 4e-3}
    trainer = make_trainer(data, tmp_path / "run", model={"proposals": proposals}, solver=solver)
    before, heads = average_recall(trainer.model, data[0]), state_of(trainer.model.roi_heads)
    trainer.run()
    assert average_recall(trainer.model.eval(), data[0]) >= before + 0.2
    torch.testing.assert_close(state_of(trainer.model.roi_heads), heads, rtol=0, atol=0)
