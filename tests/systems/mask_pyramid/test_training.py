# SPDX-License-Identifier: Apache-2.0
"""Training steps: what is legal in a batch, precision, accumulation, memory, and how often the device is waited for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from host_copies import host_copies
from ldie.systems.mask_pyramid.generations import ConvMasks
from ldie.systems.mask_pyramid.hypotheses import Seeds
from ldie.tasks.detection import Sample
from ldie.tasks.detection.batches import Batch
from numpy.random import default_rng
from systems.mask_pyramid.helpers import (
    FIRST,
    LEVELS,
    SMALL,
    TERMS,
    batch_of,
    make_trainer,
    small_config,
    small_recipe,
)
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
from systems.solo.test_training import without_pixels
from torch import Tensor

CLIPLESS = {"gradient_clip": 0}
"""Gradients stay what they are after a step."""


def trained(sample: Sample) -> Sample:
    """As the recipe makes it for training, not mirrored, in the same size."""
    return small_recipe(solver={"data": {"mirror": 0.0}}).transform(sample, default_rng(0))


BATCHES = {
    "no object in one image": [two_images()[0], no_objects()],
    "no object in any image": [no_objects(3), no_objects(4)],
    "one crowd as the only object": [one_crowd()],
    "a crowd's run lengths beside polygons": [run_lengths(squares((8, 8, 20), image_id=8)), *two_images()],
    "boxes without area": [without_area()],
    "masks without pixels": [without_pixels()],
    "a single small object": [squares((60, 60, 1), image_id=9)],
    "many objects": [squares(*((x, y, 6) for x in range(0, 60, 8) for y in range(0, 60, 8)), image_id=10)],
}
FORMS: dict[str, dict[str, Any]] = {
    "first": {"model": FIRST, "solver": {"loss": {"missed": 1.0, "root": 1.0, "by_area": True}}},
    "second": {
        "model": {"growth": {"guide": True}, "score": {"iou_head": True}},
        "solver": {"assign": {"teach": True, "supporters": "best"}},
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BATCHES)
def test_every_batch_trains(name: str, form: str) -> None:
    """Without a term or a weight that is no number; twice, for what the first step leaves."""
    recipe = small_recipe(**FORMS[form])
    batch = batch_of(*map(trained, BATCHES[name]))
    before = state_of(recipe.model)
    for step in range(2):
        terms = recipe.train_step(batch, step)
        assert set(terms) >= TERMS and is_finite(recipe, terms)  # type: ignore[arg-type]
        assert terms["class"] > 0 and terms["level_0"] > 0
    assert changed_parts(recipe.model, before) >= {"backbone", "features", "growth", "score"}


def test_the_form_of_masks_is_nothing_that_training_sees() -> None:
    losses = [
        small_recipe().train_step(batch_of(trained(first), trained(squares((20, 4, 30), image_id=2))), 0)
        for first in (squares((6, 8, 20)), run_lengths(squares((6, 8, 20))))
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [4, 8])
@pytest.mark.parametrize("generation", [1, 2])
def test_gradients_reach_every_parameter_that_learns(generation: int, last: int) -> None:
    """Also where the backbone has finer levels than the pyramid, which then do not learn."""
    model = {
        "last_stride": last,
        "mask": {"generation": generation},
        "growth": {"low_thresh": 1.0, "guide": True, "max_alive": [20], "newborns": [6], "topk_keep": 8},
        "score": {"iou_head": True},
    }
    recipe = small_recipe(model=model, solver={**CLIPLESS, "assign": {"teach": True}})
    found = gradients(recipe, batch_of())
    learnable = {name for name, weight in recipe.model.named_parameters() if weight.requires_grad}
    assert found.keys() == learnable
    dead = {name for name, value in found.items() if not value.any()}
    assert not dead
    still = {name.partition(".weight")[0] for name, w in recipe.model.named_parameters() if not w.requires_grad}
    assert {name.rpartition(".")[2] for name in still if "weight" not in name and "bias" not in name} == (
        {"fpn_lateral2", "fpn_output2"} if last == 8 else set()
    )


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("name", ["two images", "no object in any image"])
def test_bf16_trains(name: str, generation: int) -> None:
    """Losses are computed in float32 and close to those without."""
    sections = {"model": {"mask": {"generation": generation}, "growth": {"topk_keep": 8, "max_alive": [30]}}}
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    exact = small_recipe(**sections).train_step(batch, 0)
    recipe = small_recipe("bf16", **sections)
    terms = recipe.train_step(batch, 0)
    assert is_finite(recipe, terms)  # type: ignore[arg-type]
    assert {value.dtype for value in terms.values()} == {torch.float32}
    for loss in ("level_0", "class"):
        assert terms[loss].item() == pytest.approx(exact[loss].item(), rel=0.05, abs=1e-3)


def test_accumulated_over_equal_batches_a_step_is_that_of_one() -> None:
    whole, parts = (gradients(small_recipe(solver=CLIPLESS), *[batch_of()] * count) for count in (1, 3))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["two images", "no object in any image"])
def test_a_step_never_waits_for_the_device(name: str, form: str) -> None:
    recipe = small_recipe(**{**FORMS[form], "solver": {**FORMS[form]["solver"], "optimizer": "sgd", **CLIPLESS}})
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    recipe.train_step(batch, 0)  # what is made once
    assert host_copies(lambda: recipe.train_step(batch, 1)) == []


def test_mp_14_alive_never_exceeds_the_cap_and_all_is_finite() -> None:
    """In a short training at a rate that is too high, on many objects."""
    recipe = small_recipe(
        solver={"lr": 0.02, "assign": {"teach": True}}, model={"growth": {"min_spawn": 3, "max_alive": [7, 6, 5]}}
    )
    batch = batch_of(*two_images(), *map(trained, BATCHES["many objects"]))
    for step in range(25):
        terms = recipe.train_step(batch, step)
        assert is_finite(recipe, terms)  # type: ignore[arg-type]
        for level in range(LEVELS):
            assert 0 < terms[f"pyr_num_l{level}"] <= (7, 6, 5)[level]


def test_losses_fall() -> None:
    """Where there is room for all: a hypothesis that dies takes its loss with it."""
    growth = {"topk_keep": 8, "max_alive": [24]}
    recipe = small_recipe(solver={"lr": 5e-3, "assign": {"teach": True}}, model={"growth": growth})
    terms = [recipe.train_step(batch_of(), step)["loss"].item() for step in range(40)]
    assert sum(terms[-8:]) < 0.7 * sum(terms[:8])


def test_the_same_seed_trains_the_same_to_the_bit() -> None:
    states = []
    for _ in range(2):
        recipe = small_recipe()
        for step in range(3):
            recipe.train_step(batch_of(), step)
        states.append(state_of(recipe.model))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


class _Saved:
    """Bytes that autograd keeps for the way back."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def pack(self, value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        self.seen[storage.data_ptr()] = storage.nbytes()
        return value

    @property
    def total(self) -> int:
        return sum(self.seen.values())


def _many(count: int) -> Seeds:
    births = torch.cat([torch.rand(1, count, 2) * 128, torch.full((1, count, 1), 4.0)], 2)
    return Seeds(torch.zeros(1, count, dtype=torch.int64), births, torch.full((1, count), -1))


@pytest.mark.parametrize("mode", ["concat", "add", "multiply"])
def test_mp_14_memory_of_the_first_generation_is_a_few_maps_of_each_hypothesis(mode: str) -> None:
    """N * h * w: what one more hypothesis keeps is nowhere near its features, C * h * w."""
    config = small_config(model={"backbone": {"pyramid_channel": 64}, "mask": {"generation": 1, "gauss_mode": mode}})
    masks, features, kept = ConvMasks(config.model), torch.randn(1, 64, 32, 32, requires_grad=True), []
    for count in (10, 50):
        saved = _Saved()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda value: value):
            masks(features, _many(count), None, 0)
        kept.append(saved.total)
    maps = (kept[1] - kept[0]) / (40 * 4 * 32 * 32)
    assert maps <= 2.2, "the place, which convolution and product need; never 64"


def test_what_a_step_keeps_grows_with_the_cap() -> None:
    """Pruned hypotheses are gone before the way back begins."""
    kept = []
    for cap in ([16, 4, 4], [16, 12, 12]):
        recipe = small_recipe(model={"growth": {"max_alive": cap, "newborns": [1, 1], "topk_keep": 8}})
        saved = _Saved()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda value: value):
            recipe.train_step(batch_of(), 0)
        kept.append(saved.total)
    assert kept[0] < 0.8 * kept[1]


def test_learns_one_image_by_heart(tmp_path) -> None:
    """Its objects are found where they are, with their masks."""
    data, _ = make_shapes(tmp_path)
    one = data.subset([next(i for i in range(len(data)) if len(data.objects(i)) > 1)])
    solver = {
        "batch_size": 1, "max_iter": 150, "lr": 5e-3, "lr_schedule": "cosine", "data": {"mirror": 0.0},
        "assign": {"teach": True},
    }  # fmt: skip
    model = {"mask": {"offsets": True, "block": "basic"}, "growth": {"guide": True, "low_thresh": 0.5}}
    trainer = make_trainer((one, one), tmp_path / "run", solver=solver, model=model)
    metrics = trainer.run()
    assert metrics is not None and metrics["segm/AP50"] >= 0.8


def test_objects_of_the_batch_are_counted(tmp_path) -> None:
    batch: Batch = batch_of(*two_images(), no_objects())
    terms = small_recipe().train_step(batch, 0)
    assert terms["InstPyr_inst_count"].item() == pytest.approx(4 / 3)
    assert len(SMALL.model.strides) == LEVELS
