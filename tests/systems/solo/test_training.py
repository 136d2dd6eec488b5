# SPDX-License-Identifier: Apache-2.0
"""Training steps: what is legal in a batch, precision, accumulation, and how often the device is waited for."""

from __future__ import annotations

import pytest
import torch
from host_copies import host_copies
from ldie.tasks.detection import Sample
from numpy.random import default_rng
from systems.rcnn.helpers import (
    changed_parts,
    gradients,
    is_finite,
    make_shapes,
    no_objects,
    one_crowd,
    run_lengths,
    squares,
    state_of,
    two_images,
    without_area,
)
from systems.solo.helpers import TERMS, batch_of, make_trainer, small_recipe

import ldie_ext

STILL = {"mirror": 0.0}
CLIPLESS = {"gradient_clip": 0}
"""Gradients stay what they are after a step."""


def trained(sample: Sample) -> Sample:
    """As the recipe makes it for training, not mirrored, in the same size."""
    return small_recipe(solver={"data": STILL}).transform(sample, default_rng(0))


def without_pixels() -> Sample:
    """Boxes with an area and masks without."""
    sample = squares((10, 10, 20), (34, 34, 20), image_id=7)
    sample.masks.coords.zero_()  # type: ignore[union-attr]
    return sample


def of_no_size() -> Sample:
    """An object that is in none of the levels' ranges."""
    return squares((60, 60, 1), image_id=9, boxes=torch.tensor([[60.0, 60, 60.5, 60.5]]))


BATCHES = {
    "no object in one image": [two_images()[0], no_objects()],
    "no object in any image": [no_objects(3), no_objects(4)],
    "one crowd as the only object": [one_crowd()],
    "a crowd's run lengths beside polygons": [run_lengths(squares((8, 8, 20), image_id=8)), *two_images()],
    "boxes without area": [without_area()],
    "masks without pixels": [without_pixels()],
    "a single small object": [squares((60, 60, 1), image_id=9)],
    "an object of no level's size": [of_no_size()],
    "many objects": [squares(*((x, y, 6) for x in range(0, 60, 8) for y in range(0, 60, 8)), image_id=10)],
}
NOTHING = {
    "no object in any image", "one crowd as the only object", "masks without pixels", "an object of no level's size",
}  # fmt: skip
NORMS = {"group": {}, "batch": {"backbone": {"normalization": "batch"}, "head": {"normalization": "batch"}}}


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("name", BATCHES)
def test_every_batch_trains(name: str, norms: str) -> None:
    """Without a term or a weight that is no number; twice, for what the first step leaves."""
    recipe = small_recipe(model=NORMS[norms])
    batch = batch_of(*map(trained, BATCHES[name]))
    before = state_of(recipe.model)
    for step in range(2):
        terms = recipe.train_step(batch, step)
        assert set(terms) == TERMS and is_finite(recipe, terms)  # type: ignore[arg-type]
        assert terms["loss_cls"] > 0 and (terms["loss_mask"] == 0) == (name in NOTHING)
    assert changed_parts(recipe.model, before) >= {"backbone", "head"}


@pytest.mark.parametrize("name", sorted(NOTHING))
def test_a_batch_with_nothing_to_learn_has_no_gradient_of_masks(name: str) -> None:
    """Zero, not missing."""
    found = gradients(small_recipe(solver=CLIPLESS), batch_of(*map(trained, BATCHES[name])))
    masks = [value for key, value in found.items() if "mask_convs" in key or "conv_mask_list" in key]
    assert len(masks) == 12 and not any(bool(value.any()) for value in masks)
    assert found["head.conv_cls.bias"].any()


def test_what_is_no_target_is_left_out() -> None:
    assert len(trained(one_crowd())) == 0
    left = trained(without_area())
    assert left.boxes.tolist() == [[10, 10, 30, 30]] and left.masks is not None and len(left.masks) == 1
    assert left.keypoints is None


def test_the_form_of_masks_is_nothing_that_training_sees() -> None:
    losses = [
        small_recipe().train_step(batch_of(trained(first), trained(squares((20, 4, 30), image_id=2))), 0)
        for first in (squares((6, 8, 20)), run_lengths(squares((6, 8, 20))))
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


def test_objects_are_mirrored_with_their_image() -> None:
    recipe = small_recipe(solver={"data": {"mirror": 1.0}})
    made = recipe.transform(squares((6, 8, 20)), default_rng(0))
    assert made.boxes.tolist() == [[38, 8, 58, 28]]
    (mask,) = ldie_ext.polygons_to_masks(made.masks, (64, 64))
    assert mask.nonzero().amin(0).tolist() == [8, 38] and mask.nonzero().amax(0).tolist() == [27, 57]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["two images", "no object in any image"])
def test_mixed_precision_trains(precision: str, name: str) -> None:
    """Losses are computed in float32 and close to those without."""
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    exact = small_recipe().train_step(batch, 0)
    recipe = small_recipe(precision)
    terms = recipe.train_step(batch, 0)
    assert is_finite(recipe, terms) and set(terms) == TERMS  # type: ignore[arg-type]
    assert {value.dtype for value in terms.values()} == {torch.float32}
    for loss in TERMS:
        assert terms[loss].item() == pytest.approx(exact[loss].item(), rel=0.05, abs=1e-3)


def test_accumulated_over_equal_batches_a_step_is_that_of_one() -> None:
    whole, parts = (gradients(small_recipe(solver=CLIPLESS), *[batch_of()] * count) for count in (1, 3))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)


def test_accumulated_losses_are_means_over_one_batch_at_a_time() -> None:
    """So a batch without objects halves what the other one teaches of masks; in one large batch it would not."""
    images = [*two_images(), no_objects(3), no_objects(4)]
    whole, parts = (
        gradients(small_recipe(solver=CLIPLESS), *batches)
        for batches in ([batch_of(*images)], [batch_of(*images[:2]), batch_of(*images[2:])])
    )
    name = "head.conv_mask_list.1.weight"
    assert whole[name].any()
    torch.testing.assert_close(2 * parts[name], whole[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", [{}, {"mask_targets": "fraction", "assign": {"mask_cells": True}}])
@pytest.mark.parametrize("name", ["two images", "a crowd's run lengths beside polygons", "no object in any image"])
def test_a_step_waits_for_the_device_once(name: str, form: dict) -> None:
    """For how many places learn something, which decides how many masks there are."""
    recipe = small_recipe(solver={"optimizer": "sgd", **CLIPLESS, **form})
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    recipe.train_step(batch, 0)  # what is made once
    assert host_copies(lambda: recipe.train_step(batch, 1)) == ["Tensor.tolist"]


def test_learns_one_image_by_heart(tmp_path) -> None:
    """Its objects are found where they are, with their masks, by a network of 70,000 weights."""
    data, _ = make_shapes(tmp_path)
    one = data.subset([next(i for i in range(len(data)) if len(data.objects(i)) > 1)])
    solver = {"batch_size": 1, "max_iter": 150, "lr": 4e-3, "lr_schedule": "cosine", "data": STILL}
    assign = {"scale_ranges": [[0, 99]]}
    head = {"grids": [12], "strides": [4]}
    trainer = make_trainer((one, one), tmp_path / "run", solver={**solver, "assign": assign}, model={"head": head})
    metrics = trainer.run()
    assert metrics is not None and min(metrics[f"{kind}/AP50"] for kind in ("bbox", "segm")) >= 0.95
