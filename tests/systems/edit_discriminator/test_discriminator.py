"""The discriminator: what it learns from, what it tells apart once it has, and its checkpoints."""

from __future__ import annotations

from dataclasses import replace

import ldie
import numpy as np
import pytest
import torch
from ldie.cli import main
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.engine.trainer import Trainer
from ldie.errors import ConfigError, DataError
from ldie.systems import get_system
from ldie.systems.edit_discriminator import SYSTEM, DiscriminatorConfig, DiscriminatorRecipe, EditDiscriminator
from ldie.systems.edit_discriminator.recipe import named_steps
from ldie.tasks.editing.judges.negatives import WithNegatives
from ldie.tasks.editing.sample import EditInput, JudgedInput
from tasks.editing.small_requests import SmallRequests, sample

from ldie_ext import EditOp

CPU = torch.device("cpu")
SMALL = {
    "model": {
        "language": {"embedding": 16, "hidden": 16, "dropout": 0.0},
        "pair": {"size": 16, "widths": [16, 24], "code": 32},
    },
    "solver": {"batch_size": 16, "max_iter": 60, "lr": 0.006, "warmup_iter": 0, "log_step": 60},
}


def small_config(**values) -> DiscriminatorConfig:
    return merge(merge(SYSTEM.preset("tiny"), SMALL), values)


def recipe_for(data, **values) -> DiscriminatorRecipe:
    torch.manual_seed(0)
    config = small_config(**values)
    model = EditDiscriminator.from_config(config, SYSTEM.task.facts(data))
    return DiscriminatorRecipe(model, config, TrainingRuntime(CPU))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, its folder and its metrics."""
    folder = tmp_path_factory.mktemp("run")
    config = replace(small_config(), output_dir=str(folder))
    data = SmallRequests(96), WithNegatives(SmallRequests(48, first=200))
    return folder, Trainer(SYSTEM, config, *data, CPU).run()


def test_answers_are_told_from_others(run):
    assert run[1]["discriminator/accuracy"] > 0.7
    assert run[1]["discriminator/negatives"] > 0.6
    assert run[1]["discriminator/negatives-black"] == run[1]["discriminator/negatives-constant"] == 1


def test_a_checkpoint_judges_the_answer_above_the_source_and_black(run):
    predictor = ldie.load(run[0], device="cpu")
    wins = 0
    for seed in range(300, 310):
        given = sample("darker", seed)
        pictures = [given.target, given.source, torch.zeros_like(given.source)]
        with torch.no_grad():
            found = predictor([JudgedInput(given.source, "darker", picture=picture) for picture in pictures], 2)
        answer, *others = (float(each.realness) for each in found)
        wins += answer > max(others)
    assert wins >= 9


def test_a_judge_of_pictures_says_what_predict_says(run):
    model = ldie.load(run[0], device="cpu").model
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[:8] = True
    given = sample("darker and pale", 5, region)
    with torch.no_grad():
        (expected,) = model.predict([JudgedInput(given.source, given.request, region, picture=given.target)])
        judge = model.judge(given.source, given.request, region)
        torch.testing.assert_close(judge(given.target[None].float() / 255)[0], expected.realness)


def test_a_checkpoint_of_another_system_is_refused_by_name(run, capsys):
    assert main(["train", "edit_classifier", "--resume", "--work-dir", str(run[0])]) == 1
    assert "is of system edit_discriminator, not edit_classifier; name that one" in capsys.readouterr().err


def test_negatives_are_drawn_anew_from_the_given_numbers_alone():
    recipe = recipe_for(SmallRequests(4))
    given = sample("brighter and pale", 1)
    first, again, other = (recipe.transform(given, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.pictures.shape == (4, 3, 16, 16)
    assert torch.equal(first.pictures, again.pictures)
    assert not torch.equal(first.pictures, other.pictures)
    assert torch.equal(first.pictures[0], given.target)


def test_only_other_requests_count_as_negatives():
    recipe = recipe_for(SmallRequests(4))
    rng = np.random.default_rng(0)
    items = [recipe.transform(sample(text, seed), rng) for seed, text in enumerate(["pale", "brighter", "brighter"])]
    batch = recipe.collate(items)
    assert batch.others.tolist() == [True, True, False]  # each against the one before, the first against the last
    assert batch.regions is None
    recipe.train_step(batch, 0)


def test_unknown_steps_do_not_count():
    recipe = recipe_for(SmallRequests(4))
    rng = np.random.default_rng(0)
    plain, known = replace(sample("pale", 1), steps=None), sample("brighter", 2)
    terms = recipe.train_step(recipe.collate([recipe.transform(plain, rng)] * 2), 0)
    assert terms["steps_loss"] == 0
    assert recipe.collate([recipe.transform(each, rng) for each in (plain, known)]).known.tolist() == [False, True]
    named, amounts = named_steps(known, (EditOp.SATURATION, EditOp.BRIGHTNESS))
    assert named.tolist() == [0, 1]
    assert amounts.tolist() == pytest.approx([0, 0.4])


def test_data_that_teaches_nothing_is_refused():
    recipe = recipe_for(SmallRequests(4))
    with pytest.raises(DataError, match="small requests: has no requests to train on"):
        recipe.check_data(SmallRequests(0))
    data = SmallRequests(1)
    data._samples = [replace(data[0], target=None)]
    with pytest.raises(DataError, match="small requests: has no targets"):
        recipe.check_data(data)
    with pytest.raises(DataError, match="small requests: names no operators"):
        recipe.check_data(SmallRequests(2, operators=()))
    with pytest.raises(ConfigError, match=r"model.pair.widths must have the channels of at least one convolution"):
        small_config(model={"pair": {"widths": []}}).check()
    with pytest.raises(ConfigError, match=r"model.pair.size is too small for 6 convolutions, got 16"):
        recipe_for(SmallRequests(4), model={"pair": {"widths": [4] * 6}})


def test_fresh_weights_load_by_name_and_judge_only_what_has_a_picture():
    model = ldie.load("edit_discriminator", device="cpu").model
    assert get_system("edit_discriminator") is SYSTEM
    given = sample("brighter")
    inputs = [EditInput(given.source, "x"), JudgedInput(given.source, "more contrast", picture=given.target)]
    with torch.no_grad():
        nothing, judged = model.predict(inputs)
    assert nothing.realness is None
    assert 0 < float(judged.realness) < 1
