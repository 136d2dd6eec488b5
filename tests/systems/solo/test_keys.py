# SPDX-License-Identifier: Apache-2.0
"""SO-8: what each key changes of weights, losses, steps and results, and that it changes nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from ldie.tasks.detection import Prediction, Sample
from ldie.tasks.detection.batches import Batch
from numpy.random import default_rng
from systems.rcnn.helpers import is_finite, squares
from systems.solo.helpers import TERMS, batch_of, small_config, small_recipe
from torch import Tensor

BASE = small_config(
    solver={"optimizer": "sgd", "lr": 0.01, "assign": {"sigma": 0.8, "scale_ranges": [[1, 50], [16, 28], [24, 99]]}},
    test={"score_thr": 0.05, "update_threshold": 0.001},
)
"""SGD, as its steps depend on what gradients are; middles so wide that at most 3 x 3 places is a limit."""
CLS, MASK, RESULTS = {"loss_cls", "steps"}, {"loss_mask", "steps"}, {"results"}
LOSSES, ALL = CLS | MASK, CLS | MASK | RESULTS
SAME_SCALE = {"multi_scale_loss": False}

KEYS: dict[str, tuple[dict[str, Any], set[str]]] = {
    # the networks
    "head.upsample_pos=before": ({"model": {"head": {"upsample_pos": "before"}}}, MASK | RESULTS),
    "head.sigmoid_after_up=false": ({"model": {"head": {"sigmoid_after_up": False}}}, MASK | RESULTS),
    "head.align_corners=true": ({"model": {"head": {"align_corners": True}}}, ALL),
    "head.coord_norm=false": ({"model": {"head": {"coord_norm": False}}}, MASK | RESULTS | {"head.mask_convs.0"}),
    "head.category=softmax": ({"model": {"head": {"category": "softmax"}}}, CLS | RESULTS | {"head.conv_cls"}),
    "head.category_kernel=1": ({"model": {"head": {"category_kernel": 1}}}, CLS | RESULTS | {"head.conv_cls"}),
    "head.category_per_level=true": (
        {"model": {"head": {"category_per_level": True}}}, CLS | RESULTS | {"head.conv_cls"},
    ),
    "fpn_convs=1": ({"model": {"fpn_convs": 1}}, ALL | {"levels.fpn_convs"}),
    "fpn_relu=true": ({"model": {"fpn_relu": True}}, ALL),
    # the losses
    "focal_alpha": ({"solver": {"focal_alpha": 0.3}}, CLS),
    "focal_gamma": ({"solver": {"focal_gamma": 2.2}}, CLS),
    "category_weight": ({"solver": {"category_weight": 2.0}}, CLS),
    "count_images": ({"solver": {"count_images": True}}, CLS),
    "mask_weight": ({"solver": {"mask_weight": 1.0}}, MASK),
    "dice_smooth": ({"solver": {"dice_smooth": [1, 1]}}, MASK),
    "multi_scale_loss=false": ({"solver": SAME_SCALE}, MASK),
    "loss_stride=2": ({"solver": {**SAME_SCALE, "loss_stride": 2}}, MASK),
    "loss_stride=8": ({"solver": {**SAME_SCALE, "loss_stride": 8}}, MASK),
    "mask_targets=nearest": ({"solver": {"mask_targets": "nearest"}}, MASK),
    "mask_targets=bilinear": ({"solver": {"mask_targets": "bilinear"}}, MASK),
    "mask_targets=fraction": ({"solver": {"mask_targets": "fraction"}}, MASK),
    # the assignment
    "assign.clamp=false": ({"solver": {"assign": {"clamp": False}}}, LOSSES),
    "assign.order=given": ({"solver": {"assign": {"order": "given"}}}, LOSSES),
    "assign.skip_empty=false": ({"solver": {"assign": {"skip_empty": False}}}, LOSSES),
    "assign.sigma": ({"solver": {"assign": {"sigma": 0.2}}}, LOSSES),
    "assign.mask_cells=true": ({"solver": {"assign": {"sigma": 0.2, "mask_cells": True}}}, LOSSES),
    "assign.scale_ranges": ({"solver": {"assign": {"scale_ranges": [[0, 99]] * 3}}}, LOSSES),
    # the steps
    "sgd_style=caffe": ({"solver": {"sgd_style": "caffe"}}, {"steps"}),
    "optimizer=adamw": ({"solver": {"optimizer": "adamw"}}, {"steps"}),
    "momentum": ({"solver": {"momentum": 0.5}}, {"steps"}),
    "weight_decay": ({"solver": {"weight_decay": 0.1}}, {"steps"}),
    "gradient_clip": ({"solver": {"gradient_clip": 0.01}}, {"steps"}),
    # the results
    "score_thr": ({"test": {"score_thr": 0.5}}, RESULTS),
    "nms_pre": ({"test": {"nms_pre": 2}}, RESULTS),
    "points_nms=0": ({"test": {"points_nms": 0}}, RESULTS),
    "points_nms=3": ({"test": {"points_nms": 3}}, RESULTS),
    "mask_threshold": ({"test": {"mask_threshold": 0.7}}, RESULTS),
    "min_area=stride": ({"test": {"min_area": "stride", "mask_threshold": 0.99}}, RESULTS),
    "maskness=false": ({"test": {"maskness": False}}, RESULTS),
    "nms=greedy": ({"test": {"nms": "greedy"}}, RESULTS),
    "kernel=linear": ({"test": {"kernel": "linear"}}, RESULTS),
    "sigma": ({"test": {"sigma": 0.5}}, RESULTS),
    "update_threshold": ({"test": {"update_threshold": 0.3}}, RESULTS),
    "min_pixels": ({"test": {"min_pixels": 300}}, RESULTS),
    "detections": ({"test": {"detections": 1}}, RESULTS),
}  # fmt: skip


def samples() -> list[Sample]:
    """A small object that is named before the large one it lies on, and one without a pixel."""
    first = squares((20, 20, 16), (8, 8, 44), (40, 4, 18))
    first.masks.coords[-4:] = 0  # type: ignore[union-attr]
    return [first, squares((4, 30, 25), (34, 6, 19), image_id=2)]


class Outcome(NamedTuple):
    """Of a configuration with given weights."""

    shapes: dict[str, torch.Size]
    terms: dict[str, Tensor]
    results: Prediction
    steps: dict[str, Tensor]
    """Weights after two steps."""


def outcome(sections: dict[str, Any], weights: dict[str, Tensor], batch: Batch) -> Outcome:
    """Weights that are there and fit are the given ones; the rest is the constructor's."""
    recipe = small_recipe(config=BASE, **sections)
    own = recipe.model.state_dict()
    for name, value in own.items():
        if name in weights and weights[name].shape == value.shape:
            value.copy_(weights[name])
    with torch.no_grad():
        (results,) = recipe.model.eval().predict([samples()[0].image])
    recipe.train_mode()
    terms = recipe.train_step(batch, 0)
    again = recipe.train_step(batch, 1)
    assert set(terms) == TERMS and is_finite(recipe, {**terms, **{f"{name} again": v for name, v in again.items()}})  # type: ignore[arg-type]
    return Outcome({name: value.shape for name, value in own.items()}, terms, results, recipe.model.state_dict())


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(*samples())


@pytest.fixture(scope="module")
def weights(batch: Batch) -> dict[str, Tensor]:
    """Of a model that has learned a little of these images."""
    torch.manual_seed(0)
    recipe = small_recipe(config=BASE, solver={"optimizer": "adamw"})
    for step in range(60):
        recipe.train_step(batch, step)
    return {name: value.clone() for name, value in recipe.model.state_dict().items()}


@pytest.fixture(scope="module")
def base(weights: dict[str, Tensor], batch: Batch) -> Outcome:
    return outcome({}, weights, batch)


def same_results(one: Prediction, other: Prediction) -> bool:
    """To the bit, masks included."""
    fields = [(each.scores, each.labels, each.boxes, each.masks.counts, each.masks.offsets) for each in (one, other)]  # type: ignore[union-attr]
    return all(map(torch.equal, *fields))


def changes(found: Outcome, base: Outcome) -> set[str]:
    """What differs: modules with other weights, losses, the weights after two steps, results."""
    names = {
        name for name in found.shapes.keys() | base.shapes.keys() if found.shapes.get(name) != base.shapes.get(name)
    }
    modules = {".".join(name.split(".")[: 3 if "mask_convs" in name else 2]) for name in names}
    losses = {name for name in ("loss_cls", "loss_mask") if not torch.equal(found.terms[name], base.terms[name])}
    shared = found.steps.keys() & base.steps.keys() - names
    steps = any(not torch.equal(found.steps[name], base.steps[name]) for name in shared)
    results = not same_results(found.results, base.results)
    return modules | losses | ({"steps"} if steps else set()) | (RESULTS if results else set())


def test_a_step_and_results_are_the_same_every_time(weights, batch, base) -> None:
    """What the comparisons rely on; and there is something to find."""
    assert changes(outcome({}, weights, batch), base) == set()
    assert len(base.results.scores) > 2 and base.results.scores[0] > 0.1


@pytest.mark.parametrize("key", KEYS)
def test_so_8_a_key_changes_what_it_says_and_nothing_else(key, weights, batch, base) -> None:
    """Each trains two steps and predicts."""
    sections, expected = KEYS[key]
    against = base
    if key == "assign.mask_cells=true":  # whose middle is another one
        against = outcome(KEYS["assign.sigma"][0], weights, batch)
    if key == "min_area=stride":
        against = outcome({"test": {"mask_threshold": 0.99}}, weights, batch)
    assert changes(outcome(sections, weights, batch), against) == expected


def test_so_8_every_key_of_the_losses_and_results_is_among_them() -> None:
    """But for those that other tests are about."""
    elsewhere = {"lr", "pretrained", "pretrained_parts", "data", "assign"}
    config = small_config()
    base_solver = {field.name for field in dataclasses.fields(type(config.solver).__mro__[1])}
    solver = {field.name for field in dataclasses.fields(config.solver)} - base_solver - elsewhere
    keys = {key.partition("=")[0] for key in KEYS}
    assert solver <= keys
    assert {f"assign.{field.name}" for field in dataclasses.fields(config.solver.assign)} <= keys
    assert {field.name for field in dataclasses.fields(config.test)} - {"nms_threshold"} <= keys
    head = {field.name for field in dataclasses.fields(config.model.head)}
    head -= {"grids", "strides", "convs", "channel", "normalization", "mask_prior"}  # sizes, and what weights start as
    assert {f"head.{name}" for name in head} <= keys


def test_so_8_greedy_suppression_has_a_threshold(weights, batch) -> None:
    loose, tight = (
        outcome({"test": {"nms": "greedy", "nms_threshold": threshold}}, weights, batch).results
        for threshold in (1.0, 0.1)
    )
    assert len(loose.scores) > len(tight.scores)


def test_so_8_random_scale_draws_from_the_sizes_it_is_given() -> None:
    """With the objects scaled alike."""
    recipe = small_recipe(solver={"data": {"shorter_sides": [32, 48, 80], "longest": 80, "mirror": 0.0}})
    rng, seen = default_rng(0), set()
    for _ in range(20):
        made = recipe.transform(squares((8, 16, 24)), rng)
        side = made.image.shape[1]
        assert made.image.shape == (3, side, side) and made.size == (64, 64)
        expected = torch.tensor([[8.0, 16, 32, 40]]) * side / 64
        torch.testing.assert_close(made.boxes, expected)
        seen.add(side)
    assert seen == {32, 48, 80}
