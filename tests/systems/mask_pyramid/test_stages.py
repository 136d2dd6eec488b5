# SPDX-License-Identifier: Apache-2.0
"""MP-14: levels that learn one after the other, by the step's number or as evaluations say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.log import read_log
from ldie.errors import ConfigError
from ldie.systems.mask_pyramid import MaskPyramid, MaskPyramidRecipe
from ldie.tasks.detection import CocoDataset
from systems.mask_pyramid.helpers import LEVELS, batch_of, make_trainer, small_model, small_recipe
from systems.rcnn.helpers import gradients, make_shapes, two_images

Sets = tuple[CocoDataset, CocoDataset]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return make_shapes(tmp_path_factory.mktemp("data"))


def levels_of(terms: dict[str, Any]) -> int:
    return sum(name.startswith("level_") for name in terms)


def test_mp_14_a_level_follows_after_so_many_steps() -> None:
    """Once a step, however many batches make it up; and no more than there are."""
    recipe = small_recipe(solver={"stage": {"levels": 1, "steps": 2}})
    batch = batch_of()
    seen = []
    for step in range(8):
        for _ in range(2):  # of an accumulated step
            seen.append(levels_of(recipe.train_step(batch, step)))
    assert seen == [1, 1, 1, 1, 2, 2, 2, 2] + [3] * 8 and LEVELS == 3


def test_mp_14_a_level_follows_when_those_before_are_mature(caplog: pytest.LogCaptureFixture) -> None:
    """When an evaluation is no better than the one before by ``gain``; the next has its first one without a rival."""
    recipe = small_recipe(solver={"stage": {"levels": 1, "gain": 0.05}, "eval_step": 1})
    seen = []
    with caplog.at_level(logging.INFO, "ldie"):
        for value in (0.1, 0.2, 0.24, 0.3, 0.2, 0.9):
            recipe.on_evaluation({"segm/AP": value})
            seen.append(recipe.model.levels)
    assert seen == [1, 1, 2, 2, 3, 3]
    assert caplog.messages == ["level 1, of stride 8, begins to learn", "level 2, of stride 4, begins to learn"]


def test_without_stages_all_levels_learn_from_the_start() -> None:
    recipe = small_recipe()
    for value in (0.0, 0.0):
        recipe.on_evaluation({"segm/AP": value})
    assert recipe.model.levels == levels_of(recipe.train_step(batch_of(), 5)) == 3


def test_with_steps_evaluations_decide_nothing() -> None:
    recipe = small_recipe(solver={"stage": {"levels": 1, "steps": 100}})
    recipe.on_evaluation({"segm/AP": 0.0})
    assert recipe.model.levels == 1


def test_what_does_not_grow_yet_has_gradients_of_zero() -> None:
    """Not none: other processes may be ahead, and an optimizer is to have the same weights everywhere."""
    recipe = small_recipe(solver={"stage": {"levels": 1}, "gradient_clip": 0})
    found = gradients(recipe, batch_of())
    assert found.keys() == {name for name, weight in recipe.model.named_parameters() if weight.requires_grad}
    later = [value for name, value in found.items() if name.startswith(("growth.masks.out.1", "growth.masks.states"))]
    assert len(later) == 4 and not any(bool(value.any()) for value in later)
    assert found["growth.masks.out.0.weight"].any()


def test_results_have_the_stride_of_the_levels_that_grow() -> None:
    model = small_model(solver={"stage": {"levels": 2}})
    with torch.no_grad():
        assert len(model(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]])).levels) == 2
        (found,) = model.predict([two_images()[0].image])
    assert found.size == (64, 64)


STAGED = {"stage": {"levels": 1, "steps": 2}, "log_step": 1}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(checkpoint.newest(folder))[1]


def test_mp_14_a_run_stopped_amid_stages_goes_on_as_if_it_had_not(shapes: Sets, tmp_path: Path) -> None:
    """Bit for bit, stopped before and after a level was added."""
    make_trainer(shapes, tmp_path / "whole", solver={**STAGED, "max_iter": 4}).run()
    for steps in (2, 3, 4):
        trainer = make_trainer(shapes, tmp_path / "parts", solver={**STAGED, "max_iter": steps}, resume=steps > 2)
        trainer.run()
    torch.testing.assert_close(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"), rtol=0, atol=0)
    counts = [levels_of(record) for record in read_log(tmp_path / "parts/log.jsonl") if record["kind"] == "train"]
    assert counts == [1, 1, 2, 2]


def test_mp_14_evaluations_before_a_stop_count_after_it(shapes: Sets, tmp_path: Path) -> None:
    """And the number of levels is in the checkpoint, which is loaded by itself, too."""
    solver: dict[str, Any] = {"stage": {"levels": 1, "gain": 0.5}, "eval_step": 1}
    make_trainer(shapes, tmp_path / "run", solver={**solver, "max_iter": 1}).run()
    trainer = make_trainer(shapes, tmp_path / "run", solver={**solver, "max_iter": 2}, resume=True)
    recipe, model = trainer.recipe, trainer.model
    assert isinstance(recipe, MaskPyramidRecipe) and isinstance(model, MaskPyramid)
    assert model.levels == 2, "no evaluation is better than nothing by a half"
    assert recipe.resume_state() == {"before": 0.0}
    trainer.run()
    assert model.levels == 3
    fresh = small_model(solver=solver)
    assert fresh.levels == 1
    fresh.load_state_dict(weights_of(tmp_path / "run"))
    assert fresh.levels == 3 and int(fresh.grown) == 3


def test_averaged_weights_grow_with_the_others(shapes: Sets, tmp_path: Path) -> None:
    """They are what is evaluated: on as many levels as learn."""
    solver: dict[str, Any] = {"stage": {"levels": 1, "steps": 1}, "ema_decay": 0.9, "max_iter": 3}
    trainer = make_trainer(shapes, tmp_path, solver=solver)
    trainer.run()
    average = trainer.learner.result
    assert isinstance(average, MaskPyramid) and average is not trainer.model
    assert average.levels == trainer.model.levels == 3  # type: ignore[attr-defined]


def test_levels_of_weights_to_start_from_are_not_taken(shapes: Sets, tmp_path: Path) -> None:
    """A run begins with as many as it says, whatever those weights had."""
    solver: dict[str, Any] = {"max_iter": 1}
    make_trainer(shapes, tmp_path / "first", solver={**solver, "stage": {"levels": 1}}).run()
    make_trainer(shapes, tmp_path / "all", solver=solver).run()
    for source, stage, expected in (("first", 0, 3), ("all", 1, 1)):
        file = str(checkpoint.newest(tmp_path / source))
        settings = {**solver, "pretrained": file, "stage": {"levels": stage}}
        trainer = make_trainer(shapes, tmp_path / f"from_{source}", solver=settings)
        assert trainer.model.levels == int(trainer.model.grown) == expected  # type: ignore[attr-defined]
    coarser = {"pretrained": str(checkpoint.newest(tmp_path / "all")), "max_iter": 1}
    trainer = make_trainer(
        shapes,
        tmp_path / "fewer",
        solver=coarser,
        model={"last_stride": 8, "growth": {"max_alive": [9], "newborns": [2]}},
    )
    assert trainer.model.levels == 2  # type: ignore[attr-defined]
    assert trainer.run() is not None


def test_how_many_levels_a_run_began_with_cannot_change(shapes: Sets, tmp_path: Path) -> None:
    """It would be read by nobody: the weights say how many grow."""
    make_trainer(shapes, tmp_path, solver={"max_iter": 1, "stage": {"levels": 1, "steps": 9}}).run()
    with pytest.raises(ConfigError, match=r"solver\.stage\.levels cannot change where a run goes on"):
        make_trainer(shapes, tmp_path, solver={"max_iter": 2}, resume=True)


@pytest.mark.parametrize(("solver", "warned"), [({}, True), ({"eval_step": 5}, False), ({"max_iter": 9}, True)])
def test_levels_that_never_follow_are_warned_of(
    solver: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    small_recipe(solver={**solver, "stage": {"levels": 1}})
    assert ("no level follows" in caplog.text) == warned
