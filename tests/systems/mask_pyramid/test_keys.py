# SPDX-License-Identifier: Apache-2.0
"""MP-11 and the others' keys: what each changes of weights, losses, steps and results, and that it changes nothing
else."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from ldie.errors import ConfigError
from ldie.systems.mask_pyramid import PRESETS
from ldie.tasks.detection import Prediction
from ldie.tasks.detection.batches import Batch
from numpy.random import default_rng
from systems.mask_pyramid.helpers import SMALL, batch_of, small_config, small_recipe
from systems.rcnn.helpers import squares, two_images
from systems.solo.test_keys import same_results
from torch import Tensor

BASE = small_config(
    model={"growth": {"low_thresh": 0.5, "topk_keep": 1, "keep_floor": 0.1}},
    solver={"optimizer": "sgd", "lr": 0.01, "loss": {"masks": ["ce", "dice"]}, "assign": {"teach": True}},
    test={"score_thr": 0.01},
)
"""SGD, as its steps depend on what gradients are."""
LEVELS, CLASS, RESULTS = {"level_0", "level_1", "level_2", "steps"}, {"class", "steps"}, {"results"}
FINER = {"level_1", "level_2"}
LIVES = {"pyr_num_l0", "pyr_num_l1", "pyr_num_l2"}
BORN = FINER | CLASS | {"pyr_num_l1", "pyr_num_l2"}
TRAIN, ALL = LEVELS | LIVES | CLASS, LEVELS | LIVES | CLASS | RESULTS
MASKS = "growth.masks."

KEYS: dict[str, tuple[dict[str, Any], set[str]]] = {
    # how masks are computed
    "mask.generation=1": ({"model": {"mask": {"generation": 1}}}, ALL | {MASKS, "score.hidden"}),
    "mask.state_channel": ({"model": {"mask": {"state_channel": 18}}}, ALL | {MASKS, "score.hidden"}),
    "mask.init_depth": ({"model": {"mask": {"init_depth": 2}}}, ALL | {MASKS}),
    "mask.refine_depth": ({"model": {"mask": {"refine_depth": 2}}}, ALL - {"level_0", "pyr_num_l0"} | {MASKS}),
    "mask.block=basic": ({"model": {"mask": {"block": "basic"}}}, ALL | {MASKS}),
    "mask.normalization=group": (
        {"model": {"mask": {"normalization": "group"}}}, ALL | {MASKS, "score.convs"},
    ),
    "mask.share_across_levels": ({"model": {"mask": {"share_across_levels": True}}}, ALL - {"level_0"} | {MASKS}),
    "mask.class_masks": ({"model": {"mask": {"class_masks": True}}}, ALL | {MASKS}),
    "mask.gauss_mode=onehot": ({"model": {"mask": {"gauss_mode": "onehot"}}}, ALL),
    "mask.gauss_mode=multiply": ({"model": {"mask": {"gauss_mode": "multiply"}}}, ALL | {MASKS}),
    "mask.gauss_mode=add": ({"model": {"mask": {"gauss_mode": "add"}}}, ALL | {MASKS}),
    "mask.gauss_kind=fwhm": ({"model": {"mask": {"gauss_kind": "fwhm"}}}, ALL),
    "mask.gauss_kind=sigma": ({"model": {"mask": {"gauss_kind": "sigma"}}}, ALL),
    "mask.gauss_radius": ({"model": {"mask": {"gauss_radius": 3.0}}}, ALL),
    "mask.offsets": ({"model": {"mask": {"offsets": True}}}, ALL | {MASKS}),
    # who lives
    "growth.max_alive": ({"model": {"growth": {"max_alive": [3]}}}, ALL),
    "growth.newborns": ({"model": {"growth": {"newborns": [0]}}}, BORN | RESULTS),
    "growth.low_thresh": ({"model": {"growth": {"low_thresh": 0.0}}}, BORN | RESULTS),
    "growth.min_spawn": ({"model": {"growth": {"low_thresh": 0.0, "min_spawn": 1}}}, BORN | RESULTS),
    "growth.topk_keep": ({"model": {"growth": {"topk_keep": 8}}}, ALL),
    "growth.keep_floor": ({"model": {"growth": {"keep_floor": 0.5}}}, ALL),
    "growth.guide": ({"model": {"growth": {"guide": True}}}, BORN | RESULTS | {"guide", "growth.guides"}),
    "growth.births=learnt": (
        {"model": {"growth": {"births": "learnt"}}}, BORN | RESULTS | {"births", "growth.calls"},
    ),
    "test.slots": ({"test": {"slots": 2}}, RESULTS),
    # scores
    "score.convs": ({"model": {"score": {"convs": 0}}}, CLASS | RESULTS | {"score.convs"}),
    "score.hidden": (
        {"model": {"score": {"hidden": 20}}}, CLASS | RESULTS | {"score.hidden", "score.classes"},
    ),
    "score.root_power": ({"model": {"score": {"root_power": 1.0}}}, RESULTS),
    "score.maskness": ({"model": {"score": {"maskness": False}}}, RESULTS),
    "score.iou_head": ({"model": {"score": {"iou_head": True}}}, RESULTS | {"iou", "steps", "score.overlaps"}),
    # losses
    "loss.masks=l1": ({"solver": {"loss": {"masks": ["l1"]}}}, LEVELS),
    "loss.masks=l2": ({"solver": {"loss": {"masks": ["l2"]}}}, LEVELS),
    "loss.masks=ce": ({"solver": {"loss": {"masks": ["ce"]}}}, LEVELS),
    "loss.masks=dice": ({"solver": {"loss": {"masks": ["dice"]}}}, LEVELS),
    "loss.levels": ({"solver": {"loss": {"levels": [1, 1, 0.5]}}}, {"level_2", "steps"}),
    "loss.targets=area": ({"solver": {"loss": {"targets": "area"}}}, TRAIN),
    "loss.targets=nearest": ({"solver": {"loss": {"targets": "nearest"}}}, TRAIN),
    "loss.targets=bilinear": ({"solver": {"loss": {"targets": "bilinear"}}}, TRAIN),
    "loss.by_area": ({"solver": {"loss": {"by_area": True}}}, LEVELS),
    "loss.unmatched": ({"solver": {"loss": {"unmatched": 0.5}}}, LEVELS),
    "loss.root": ({"solver": {"loss": {"root": 1.0}}}, LEVELS),
    "loss.classes": ({"solver": {"loss": {"classes": 0.5}}}, CLASS),
    # who learns what
    "assign.size_ranges": ({"solver": {"assign": {"size_ranges": [[0, 20], [0, 99], [0, 99]]}}}, TRAIN),
    "assign.supporters=best": ({"solver": {"assign": {"supporters": "best"}}}, LEVELS | CLASS),
    "assign.teach": ({"solver": {"assign": {"teach": False}}}, BORN),
    # steps
    "optimizer=adamw": ({"solver": {"optimizer": "adamw"}}, {"steps"}),
    "momentum": ({"solver": {"momentum": 0.5}}, {"steps"}),
    "weight_decay": ({"solver": {"weight_decay": 0.1}}, {"steps"}),
    "gradient_clip": ({"solver": {"gradient_clip": 0.01}}, {"steps"}),
    # results
    "score_thr": ({"test": {"score_thr": 0.3}}, RESULTS),
    "mask_threshold": ({"test": {"mask_threshold": 0.7}}, RESULTS),
    "nms=greedy": ({"test": {"nms": "greedy"}}, RESULTS),
    "kernel=linear": ({"test": {"kernel": "linear"}}, RESULTS),
    "sigma": ({"test": {"sigma": 0.5}}, RESULTS),
    "update_threshold": ({"test": {"update_threshold": 0.3}}, RESULTS),
    "min_pixels": ({"test": {"min_pixels": 2000}}, RESULTS),
    "detections": ({"test": {"detections": 1}}, RESULTS),
    "paint": ({"test": {"paint": True}}, RESULTS),
}  # fmt: skip
WITH: dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]] = {
    "mask.init_kernel": (
        {"model": {"mask": {"generation": 1}}}, {"model": {"mask": {"init_kernel": 5}}},
        ALL | {f"{MASKS}shared.0", f"{MASKS}own.0"},
    ),
    "mask.refine_kernel": (
        {"model": {"mask": {"generation": 1}}}, {"model": {"mask": {"refine_kernel": 5}}},
        ALL | {f"{MASKS}{part}.{level}" for part in ("shared", "own") for level in (1, 2)},
    ),
    "growth.coverage=softmax": (
        {"model": {"growth": {"keep_floor": 0.4}}}, {"model": {"growth": {"coverage": "softmax"}}}, ALL,
    ),
    "loss.missed": (
        {"solver": {"assign": {"size_ranges": [[0, 9]] * 3}}}, {"solver": {"loss": {"missed": 1.0}}}, LEVELS,
    ),
    "loss.iou": ({"model": {"score": {"iou_head": True}}}, {"solver": {"loss": {"iou": 0.5}}}, {"iou", "steps"}),
    "loss.guide": ({"model": {"growth": {"guide": True}}}, {"solver": {"loss": {"guide": 0.5}}}, {"guide", "steps"}),
    "loss.births": (
        {"model": {"growth": {"births": "learnt"}}}, {"solver": {"loss": {"births": 0.5}}}, {"births", "steps"},
    ),
    "nms_threshold": ({"test": {"nms": "greedy"}}, {"test": {"nms_threshold": 0.9}}, RESULTS),
}  # fmt: skip
"""Keys that mean something with others alone, and these."""
ELSEWHERE = {
    "model.num_classes", "model.start_stride", "model.last_stride",  # test_generations.py
    "solver.stage.levels", "solver.stage.steps", "solver.stage.gain",  # test_stages.py
}  # fmt: skip


class Outcome(NamedTuple):
    """Of a configuration with given weights."""

    shapes: dict[str, torch.Size]
    terms: dict[str, Tensor]
    results: Prediction
    steps: dict[str, Tensor]
    """Weights after two steps."""


def outcome(sections: dict[str, Any], weights: dict[str, Tensor], batch: Batch, config: Any = BASE) -> Outcome:
    """Weights that are there and fit are the given ones; the rest is the constructor's."""
    recipe = small_recipe(config=config, **sections)
    own = recipe.model.state_dict()
    for name, value in own.items():
        if name in weights and weights[name].shape == value.shape:
            value.copy_(weights[name])
    with torch.no_grad():
        (results,) = recipe.model.eval().predict([two_images()[0].image])
    recipe.train_mode()
    terms = recipe.train_step(batch, 0)
    recipe.train_step(batch, 1)
    assert all(bool(value.isfinite().all()) for value in (*terms.values(), *recipe.model.state_dict().values()))
    return Outcome({name: value.shape for name, value in own.items()}, terms, results, recipe.model.state_dict())


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(*two_images(), squares((4, 6, 5), (20, 20, 40), image_id=3))


@pytest.fixture(scope="module")
def weights(batch: Batch) -> dict[str, Tensor]:
    """Of a model that has learned a little of these images."""
    torch.manual_seed(0)
    recipe = small_recipe(config=BASE, solver={"optimizer": "adamw", "lr": 0.01})
    for step in range(25):
        recipe.train_step(batch, step)
    return {name: value.clone() for name, value in recipe.model.state_dict().items()}


@pytest.fixture(scope="module")
def base(weights: dict[str, Tensor], batch: Batch) -> Outcome:
    return outcome({}, weights, batch)


def differences(one: Outcome, other: Outcome) -> set[str]:
    """What is not the same to the bit."""
    found = {name for name, value in one.terms.items() if not torch.equal(value, other.terms.get(name, value + 1))}
    found |= other.terms.keys() - one.terms.keys()
    found |= {
        name for name in one.shapes.keys() | other.shapes.keys() if one.shapes.get(name) != other.shapes.get(name)
    }
    if not same_results(one.results, other.results):
        found.add("results")
    if any(name in other.steps and not torch.equal(value, other.steps[name]) for name, value in one.steps.items()):
        found.add("steps")
    return found - {"loss"}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_changes_what_it_says_and_nothing_else(
    key: str, base: Outcome, weights: dict[str, Tensor], batch: Batch
) -> None:
    sections, expected = KEYS[key]
    assert_differ(base, outcome(sections, weights, batch), expected)


@pytest.mark.parametrize("key", WITH)
def test_so_does_a_key_that_goes_with_others(key: str, weights: dict[str, Tensor], batch: Batch) -> None:
    others, sections, expected = WITH[key]
    config = small_config(BASE, **others)
    assert_differ(outcome({}, weights, batch, config), outcome(sections, weights, batch, config), expected)


def assert_differ(one: Outcome, other: Outcome, expected: set[str]) -> None:
    """In these; who lives and what that costs may be what it was, if it may change at all."""
    found = differences(one, other)
    parts, of_weights = ({name for name in names if "." in name} for names in (expected, found))
    assert all(any(name.startswith(part) for part in parts) for name in of_weights), of_weights
    assert all(any(name.startswith(part) for name in of_weights) for part in parts), parts
    terms = found - of_weights
    assert terms <= expected
    indirect = LIVES | LEVELS - {"steps"} | {"class"} if expected & LIVES else set()
    assert expected - parts - indirect <= terms and (terms or of_weights)


def names(section: Any, prefix: str) -> set[str]:
    """Of all keys below a section."""
    found = set()
    for field in dataclasses.fields(section):
        value, name = getattr(section, field.name), f"{prefix}{field.name}"
        found |= names(value, f"{name}.") if dataclasses.is_dataclass(value) else {name}
    return found


def test_every_key_of_the_system_is_among_them() -> None:
    """But those that all systems share."""
    own = {f"model.{name}" for name in names(SMALL.model, "") if not name.startswith("backbone.")}
    own |= {f"solver.{part}.{name}" for part in ("loss", "assign", "stage") for name in names(_solver(part), "")}
    own |= {f"test.{name}" for name in names(SMALL.test, "")}
    tested = {name.partition("=")[0] for name in (*KEYS, *WITH)} | ELSEWHERE
    missing = {name for name in own if not any(name == each or name.endswith(f".{each}") for each in tested)}
    assert not missing - {"model.compile"}


def _solver(part: str) -> Any:
    return getattr(SMALL.solver, part)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no level": ({"model": {"start_stride": 8, "last_stride": 16}}, "model.last_stride must be at most model.start"),
    "finer than the backbone": (
        {"model": {"start_stride": 32, "last_stride": 16}},
        "model.last_stride must be at most 8",
    ),
    "max_alive": ({"model": {"growth": {"max_alive": [9, 9]}}}, "model.growth.max_alive needs one number or 3"),
    "newborns": ({"model": {"growth": {"newborns": [9, 9, 9]}}}, "model.growth.newborns needs one number or 2"),
    "loss.levels": ({"solver": {"loss": {"levels": [1, 1]}}}, "solver.loss.levels needs one number or 3"),
    "size_ranges": ({"solver": {"assign": {"size_ranges": [[0, 9]]}}}, "solver.assign.size_ranges needs 3 pairs"),
    "falling": ({"solver": {"assign": {"size_ranges": [[9, 0]] * 3}}}, "solver.assign.size_ranges needs 3 pairs"),
    "stage.levels": ({"solver": {"stage": {"levels": 4}}}, "solver.stage.levels must be at most 3, got 4"),
    "stage.steps": ({"solver": {"stage": {"steps": 4}}}, "set solver.stage.levels, or leave it 0"),
    "state_channel": ({"model": {"mask": {"state_channel": 15}}}, "model.mask.state_channel must be even"),
}


@pytest.mark.parametrize("name", WRONG)
def test_keys_that_do_not_fit_together_are_named(name: str) -> None:
    sections, message = WRONG[name]
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        small_config(**sections).check()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    PRESETS[name].check()


def test_color_jitter_and_sizes_are_of_training_images() -> None:
    recipe = small_recipe(solver={"data": {"shorter_sides": [32, 48], "longest": 80, "color_jitter": 0.5}})
    made = [recipe.transform(two_images()[0], default_rng(seed)) for seed in range(8)]
    assert {tuple(each.image.shape[1:]) for each in made} == {(32, 32), (48, 48)}
    assert len({int(each.image.sum()) for each in made}) == 8
