"""The classifier of requests: what it learns from, with and without the picture, and its checkpoints."""

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
from ldie.systems.edit_classifier import SYSTEM, ClassifierConfig, ClassifierRecipe, EditClassifier
from ldie.tasks.editing.sample import EditInput
from tasks.editing.small_requests import SmallRequests, sample

CPU = torch.device("cpu")
SMALL = {
    "model": {
        "language": {"embedding": 12, "hidden": 12},
        "image": {"size": 16, "widths": [4, 8], "code": 8},
        "hidden": 16,
    },
    "solver": {"batch_size": 16, "max_iter": 40, "lr": 0.02, "warmup_iter": 0, "log_step": 40},
}


def small_config(**values) -> ClassifierConfig:
    return merge(merge(SYSTEM.preset("tiny"), SMALL), values)


def recipe_for(data, **values) -> ClassifierRecipe:
    torch.manual_seed(0)
    config = small_config(**values)
    model = EditClassifier.from_config(config, SYSTEM.task.facts(data))
    return ClassifierRecipe(model, config, TrainingRuntime(CPU))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, its folder and its metrics."""
    folder = tmp_path_factory.mktemp("run")
    config = replace(small_config(), output_dir=str(folder))
    return folder, Trainer(SYSTEM, config, SmallRequests(48), SmallRequests(16, first=100), CPU).run()


def test_requests_are_learned(run):
    assert run[1]["classifier/auc"] > 0.95


def test_a_checkpoint_gives_the_same_scores_whatever_the_batch(run):
    model = ldie.load(run[0], device="cpu").model
    inputs = SYSTEM.task.inputs([sample("brighter", 1), sample("pale", 2), sample("pale and darker", 3)])
    with torch.no_grad():
        together = model.predict(inputs)
        alone = [model.predict([item])[0] for item in inputs]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.operator_scores, b.operator_scores)
        assert a.labels == ("BRIGHTNESS", "SATURATION")
    asked = torch.stack([each.operator_scores for each in together]) > 0.5
    assert asked.tolist() == [[True, False], [False, True], [True, True]]
    assert together[2].words == ("pale", "and", "darker")


def test_a_checkpoint_of_another_system_is_refused_by_name(run, capsys):
    assert main(["train", "edit_discriminator", "--resume", "--work-dir", str(run[0])]) == 1
    assert "is of system edit_classifier, not edit_discriminator; name that one" in capsys.readouterr().err


def test_labels_are_those_that_annotators_name():
    data = SmallRequests(4)
    data.labels = ("SATURATION", "CROP", "BRIGHTNESS")
    recipe = recipe_for(data)
    item = recipe.transform(replace(sample("brighter"), operators=frozenset({"CROP"})), np.random.default_rng(0))
    assert item.labels.tolist() == [0, 1, 0]
    item = recipe.transform(replace(sample("brighter"), operators=frozenset()), np.random.default_rng(0))
    assert item.labels.tolist() == [0, 0, 1]


def test_each_side_can_be_left_out():
    data = SmallRequests(4)
    for changed, key in (("request", "language"), ("source", "image")):
        model = recipe_for(data, model={key: {"enabled": False}}).model.eval()
        one = EditInput(sample("brighter", 1).source, "brighter")
        inputs = {"request": replace(one, request="pale"), "source": replace(one, image=sample("pale", 7).source)}
        with torch.no_grad():
            given, same = (each.operator_scores for each in model.predict([one, inputs[changed]]))
            (other,) = model.predict([inputs["source" if changed == "request" else "request"]])
        torch.testing.assert_close(given, same)
        assert not torch.allclose(given, other.operator_scores)
    with pytest.raises(ConfigError, match=r"one of model.image.enabled and model.language.enabled must be true"):
        recipe_for(data, model={"image": {"enabled": False}, "language": {"enabled": False}})


def test_data_that_teaches_nothing_is_refused():
    recipe = recipe_for(SmallRequests(4))
    with pytest.raises(DataError, match="small requests: has no requests to train on"):
        recipe.check_data(SmallRequests(0))
    with pytest.raises(DataError, match="small requests: says of no request what it asks for"):
        recipe.check_data(SmallRequests(2, operators=()))


def test_fresh_weights_load_by_name():
    model = ldie.load("edit_classifier", device="cpu").model
    assert get_system("edit_classifier") is SYSTEM
    assert len(model.predict([EditInput(sample("brighter").source, "more contrast")])[0].operator_scores) == 6


def test_keys_that_cannot_be():
    with pytest.raises(ConfigError, match=r"model.image.widths must have the channels of at least one stage, got none"):
        small_config(model={"image": {"widths": []}}).check()
    with pytest.raises(ConfigError, match=r"solver.batch_size must be at least 2"):
        recipe_for(SmallRequests(4), solver={"batch_size": 1})
