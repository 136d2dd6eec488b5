# SPDX-License-Identifier: Apache-2.0
"""The losses of a batch are their formulas, by loops over images and hypotheses."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from ldie.systems.mask_pyramid import MaskPyramidRecipe
from ldie.systems.mask_pyramid.growth import Level
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks, at_places
from ldie.systems.mask_pyramid.losses import Losses, mask_loss
from ldie.systems.mask_pyramid.truth import Truth, make_truth
from ldie.tasks.detection.batches import Batch, network_input
from systems.mask_pyramid.helpers import CLASSES, LOSSES, batch_of, seeds_of, small_recipe
from systems.rcnn.helpers import gradients, no_objects, squares, two_images
from torch import Tensor
from torch.nn import functional


def plain_mask_loss(kinds: list[str], logits: Tensor, target: Tensor, matched: bool, by_area: bool) -> Tensor:
    """Of one hypothesis [h,w]."""
    p, total = logits.sigmoid(), torch.zeros(())
    cells = max(target.sum().item(), 1.0) if by_area and matched else target.numel()
    for kind in kinds:
        if kind == "l1":
            total = total + (p - target).abs().sum() / cells
        elif kind == "l2":
            total = total + ((p - target) ** 2).sum() / cells
        elif kind == "ce":
            total = total - (target * p.log() + (1 - target) * (1 - p).log()).sum() / cells
        elif matched:
            total = total + 1 - (2 * (p * target).sum() + 1) / ((p * p).sum() + (target * target).sum() + 1)
    return total


def learners(level: Level, image: int, slot: int, best: bool, stride: int) -> int:
    """What a hypothesis learns: its object, unless another has it and is stronger at home."""
    seeds, masks = level.hypotheses
    own = int(seeds.objects[image, slot])
    if not best or own < 0:
        return own
    root = at_places(masks.logits.detach(), seeds.places, stride)[image]
    rivals = [
        other
        for other in range(seeds.alive.shape[1])
        if seeds.alive[image, other] and int(seeds.objects[image, other]) == own
    ]
    return own if slot == min(rivals, key=lambda n: (-root[n].item(), n)) else -1


def plain_level(index: int, level: Level, truth: Truth, recipe: MaskPyramidRecipe) -> Tensor:
    """MP-15: the mean over all hypotheses of the batch."""
    options, stride = recipe.config.solver.loss, recipe.config.model.strides[index]
    best = recipe.config.solver.assign.supporters == "best"
    seeds, masks = level.hypotheses
    total, missed_total, count = torch.zeros(()), torch.zeros(()), 0
    root = at_places(masks.logits, seeds.places, stride)
    for image in range(len(seeds.alive)):
        alive = seeds.alive[image].nonzero().flatten().tolist()
        own = {int(seeds.objects[image, slot]) for slot in alive}
        missed = [row for row in truth.objects[image].tolist() if row >= 0 and row not in own]
        area = sum((truth.targets[index][row] for row in missed), torch.zeros(masks.logits.shape[2:])).clamp(max=1)  # type: ignore[union-attr]
        for slot in alive:
            row, logits = learners(level, image, slot, best, stride), masks.logits[image, slot]
            target = truth.targets[index][row] if row >= 0 else torch.zeros_like(logits)
            each = plain_mask_loss(list(options.masks), logits, target, row >= 0, options.by_area)
            right = root[image, slot].sigmoid()
            each = each - options.root * (right if row >= 0 else 1 - right).log()
            total = total + each * (1.0 if row >= 0 else options.unmatched)
            missed_total = missed_total + (logits.sigmoid() * area).sum() / max(area.sum().item(), 1.0)
            count += 1
    return recipe.config.loss_weight(index) * (total + options.missed * missed_total) / max(count, 1)


def plain_losses(recipe: MaskPyramidRecipe, batch: Batch) -> dict[str, Tensor]:
    config = recipe.config
    truth = make_truth(batch, config)
    levels, opinion = recipe.model(network_input(batch.images, batch.sizes, config.input), batch.sizes, truth)
    losses = {f"level_{index}": plain_level(index, level, truth, recipe) for index, level in enumerate(levels)}
    classes, overlaps, last = [], [], levels[-1]
    best = config.solver.assign.supporters == "best"
    for image, slot in last.hypotheses.seeds.alive.nonzero().tolist():
        row = learners(last, image, slot, best, config.model.strides[-1])
        label = int(truth.labels[row]) if row >= 0 else CLASSES
        classes.append(-opinion.classes[image, slot].log_softmax(0)[label])
        if opinion.overlaps is not None and row >= 0:
            mask, wanted = last.hypotheses.masks.logits[image, slot] > 0, truth.targets[-1][row] >= 0.5
            iou = (mask & wanted).sum() / max((mask | wanted).sum().item(), 1)
            p = opinion.overlaps[image, slot].sigmoid()
            overlaps.append(-(iou * p.log() + (1 - iou) * (1 - p).log()))
    losses["class"] = config.solver.loss.classes * torch.stack(classes).mean()
    if opinion.overlaps is not None:
        losses["iou"] = config.solver.loss.iou * torch.stack(overlaps).mean()
    if levels[0].guide is not None:
        sums = []
        for index, level in enumerate(levels):
            wanted = torch.zeros_like(level.guide)  # type: ignore[arg-type]
            for image, rows in enumerate(truth.objects.tolist()):
                for row in rows:
                    if row >= 0:
                        wanted[image, truth.labels[row]] += truth.covered[index][row]
            sums.append(functional.binary_cross_entropy_with_logits(level.guide, wanted.clamp(max=1)))  # type: ignore[arg-type]
        losses["guide"] = config.solver.loss.guide * torch.stack(sums).mean()
    return losses


FORMS: dict[str, dict[str, Any]] = {
    "as published": {"solver": {"loss": {"masks": ["l1"]}}, "model": {"mask": {"generation": 1}}},
    "l2": {"solver": {"loss": {"masks": ["l2"], "levels": [0.5, 1, 2], "unmatched": 0.25, "targets": "area"}}},
    "ce": {"solver": {"loss": {"masks": ["ce"], "by_area": True}, "assign": {"supporters": "best"}}},
    "dice": {"solver": {"loss": {"masks": ["dice", "ce"], "by_area": True, "classes": 0.5}}},
    "missed": {"solver": {"loss": {"missed": 2.0}, "assign": {"size_ranges": [[0, 99], [0, 9], [0, 9]]}}},
    "missed at all": {"solver": {"loss": {"missed": 1.0, "unmatched": 0}, "assign": {"size_ranges": [[99, 100]] * 3}}},
    "root": {"solver": {"loss": {"root": 0.5, "masks": ["l1"]}}},
    "heads": {"model": {"score": {"iou_head": True}, "growth": {"guide": True}}, "solver": {"loss": {"iou": 0.3}}},
}


@pytest.mark.parametrize("name", FORMS)
def test_mp_11_losses_are_loops_over_hypotheses(name: str) -> None:
    """Also MP-15, MP-19: values and gradients; of several hypotheses for an object, some, and none."""
    batch = batch_of(*two_images(), no_objects())
    ours, plain = small_recipe(**FORMS[name]), small_recipe(**FORMS[name])
    found = ours.train_step(batch, 0)
    expected = plain_losses(plain, batch)
    assert expected.keys() >= LOSSES
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close({k: found[k] for k in expected}, {k: v.detach() for k, v in expected.items()}, **close)
    total = torch.stack(list(expected.values())).sum()
    assert found["loss"].item() == pytest.approx(total.item(), rel=1e-4)
    total.backward()
    scale = functional.normalize  # gradients of a step are clipped to one norm
    ours_, wanted = (
        torch.cat(
            [(w.grad if w.grad is not None else torch.zeros_like(w)).flatten() for w in recipe.model.parameters()]
        )
        for recipe in (ours, plain)
    )
    assert wanted.norm() > 0.01
    torch.testing.assert_close(scale(ours_, dim=0), scale(wanted, dim=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0.5), ("l2", 0.375), ("ce", None), ("dice", None)])
def test_mp_11_mask_losses_of_known_masks(kind: str, expected: float | None) -> None:
    logits = torch.tensor([[[[0.0, 50], [-50, 50]]]])  # probabilities .5, 1, 0, 1
    targets = torch.tensor([[[[1.0, 0.5], [0, 0]]]])
    targets = torch.tensor([[[[1.0, 0.0], [0, 0.5]]]]) if kind != "dice" else targets
    found = mask_loss(kind, logits, targets, torch.tensor([[True]]))  # type: ignore[arg-type]
    if kind == "ce":
        expected = (math.log(2) + 50 + 0 + 25) / 4
    if kind == "dice":
        expected = 1 - (2 * (0.5 + 0.5) + 1) / ((0.25 + 1 + 1) + (1 + 0.25) + 1)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def random_masks(alive: list[list[int]], objects: list[list[int]], size: int) -> Hypotheses:
    seeds = seeds_of(alive, objects)
    return Hypotheses(seeds, Masks(torch.randn(*seeds.slots.shape, size, size, requires_grad=True), None))


def test_mp_15_a_level_is_a_mean_over_hypotheses_not_a_sum() -> None:
    """As many equal ones as you like are worth what one is; the seed's sums were 4.67, 21.34 and 80.20."""
    recipe = small_recipe()
    losses = Losses(recipe.model, recipe.runtime)
    truth = make_truth(batch_of(squares((16, 16, 32))), recipe.config)
    logits = torch.randn(1, 1, 16, 16)
    found = []
    for count in (1, 7, 50):
        seeds = seeds_of([[1] * count], [[0] * count], torch.full((1, count, 2), 30.0))
        own = Hypotheses(seeds, Masks(logits.expand(1, count, 16, 16), None))
        found.append(losses._level(2, own, truth).item())
    assert found == pytest.approx([found[0]] * 3, rel=1e-5) and found[0] > 0.1


def test_mp_15_slots_that_are_not_in_use_count_for_nothing() -> None:
    recipe = small_recipe(solver={"loss": {"root": 1.0, "missed": 1.0, "masks": ["l1", "l2", "ce", "dice"]}})
    losses = Losses(recipe.model, recipe.runtime)
    truth = make_truth(batch_of(squares((16, 16, 32))), recipe.config)
    level = random_masks([[1, 0, 1, 0]], [[0, 0, -1, -1]], 16)
    loss = losses._level(2, level, truth)
    (slopes,) = torch.autograd.grad(loss, level.masks.logits)
    assert slopes.flatten(2).any(2).tolist() == [[True, False, True, False]]
    empty = random_masks([[0, 0]], [[0, -1]], 16)
    loss = losses._level(2, empty, truth)
    assert loss.item() == 0 and not torch.autograd.grad(loss, empty.masks.logits)[0].any()


def test_mp_12_small_objects_count_as_much_by_area() -> None:
    """Wrong at one cell in four of its own, an object of 4 cells weighs what one of 64 does; else a sixteenth."""
    ratios = {}
    for by_area in (False, True):
        values = []
        for side in (2, 8):
            target = torch.zeros(16, 16)
            target[:side, :side] = 1
            logits = (target * 2 - 1) * 40
            logits[: side // 2, : side // 2] = -40.0
            one = torch.ones(1, 1, dtype=torch.bool)
            values.append(mask_loss("l1", logits[None, None], target[None, None], one, by_area=by_area).item())
        ratios[by_area] = values[1] / values[0]
    assert ratios[False] == pytest.approx(16) and ratios[True] == pytest.approx(1)


def test_mp_12_missed_objects_push_all_masks_from_their_cells() -> None:
    """So that these are unclaimed, and born, later; objects that have a hypothesis do not."""
    recipe = small_recipe(solver={"loss": {"missed": 1.0, "unmatched": 0.0, "masks": ["ce"]}})
    losses = Losses(recipe.model, recipe.runtime)
    truth = make_truth(batch_of(squares((0, 0, 16), (32, 32, 16))), recipe.config)
    level = random_masks([[1, 1]], [[-1, 0]], 16)
    (slopes,) = torch.autograd.grad(losses._missed_loss(2, level, truth), level.masks.logits)
    pushed = torch.zeros(16, 16, dtype=torch.bool)
    pushed[8:12, 8:12] = True
    for slot in (0, 1):
        assert torch.equal(slopes[0, slot] > 0, pushed) and not (slopes[0, slot] < 0).any()
    both = random_masks([[1, 1]], [[1, 0]], 16)
    assert losses._missed_loss(2, both, truth).item() == 0
    died = random_masks([[1, 0]], [[1, 0]], 16)
    assert losses._missed_loss(2, died, truth).item() > 0, "its hypothesis is not alive"


def test_mp_16_root_loss_is_about_the_place_of_birth_alone() -> None:
    recipe = small_recipe(solver={"loss": {"root": 1.0}})
    without = dataclasses.replace(recipe.config.solver.loss, root=0.0)
    truth = make_truth(batch_of(squares((16, 16, 32))), recipe.config)
    level = random_masks([[1, 1]], [[0, -1]], 16)
    slopes = []
    for loss in (recipe.config.solver.loss, without):
        losses = Losses(recipe.model, recipe.runtime)
        losses.config = dataclasses.replace(recipe.config, solver=dataclasses.replace(recipe.config.solver, loss=loss))
        value = losses._level(2, level, truth)
        slopes.append(torch.autograd.grad(value, level.masks.logits)[0])
    difference = slopes[0] - slopes[1]
    where = (level.seeds.places[0] / 4).long()
    for slot, sign in ((0, -1), (1, 1)):
        x, y = where[slot].tolist()
        assert sign * difference[0, slot, y, x] > 0, "an object's is to be sure at home, one without is not"
        difference[0, slot, y, x] = 0
    torch.testing.assert_close(difference, torch.zeros_like(difference), atol=1e-7, rtol=0)


def test_mp_19_logits_far_from_zero_still_learn() -> None:
    """Cross entropy of logits: a mask that is wrong and sure of it has a gradient, where that of l1 is none."""
    slopes = {}
    for kind in ("ce", "l1"):
        logits = torch.full((1, 1, 2, 2), -30.0, requires_grad=True)
        loss = mask_loss(kind, logits, torch.ones(1, 1, 2, 2), torch.ones(1, 1, dtype=torch.bool))  # type: ignore[arg-type]
        slopes[kind] = torch.autograd.grad(loss.sum(), logits)[0].abs().max().item()
    assert slopes["ce"] == pytest.approx(0.25) and slopes["l1"] < 1e-8


def test_mp_19_masks_stay_logits_from_level_to_level() -> None:
    recipe = small_recipe()
    batch = batch_of()
    truth = make_truth(batch, recipe.config)
    levels, _ = recipe.model(network_input(batch.images, batch.sizes, recipe.config.input), batch.sizes, truth)
    for level in levels:
        logits = level.hypotheses.masks.logits
        assert logits.dtype == torch.float32 and logits.min() < 0 and logits.requires_grad


def test_mp_10_overlaps_are_learned_of_matched_hypotheses_alone() -> None:
    """And move nothing but their own branch and what lies below: no mask."""
    sections = {"model": {"score": {"iou_head": True}}, "solver": {"gradient_clip": 0}}
    with_head = gradients(small_recipe(**sections), batch_of())
    assert with_head["score.overlaps.weight"].any()
    nothing = gradients(small_recipe(**sections), batch_of(no_objects(3), no_objects(4)))
    assert not nothing["score.overlaps.weight"].any() and nothing["score.classes.weight"].any()


def test_supporters_best_leaves_one_learner_to_each_object() -> None:
    """The strongest at home, of those that are alive; of equal ones the first."""
    recipe = small_recipe(solver={"assign": {"supporters": "best"}})
    losses = Losses(recipe.model, recipe.runtime)
    seeds = seeds_of([[1, 1, 0, 1, 1, 1]], [[0, 0, 0, 1, -1, 1]])
    logits = torch.tensor([1.0, 2, 9, 4, 9, 4]).reshape(1, 6, 1, 1).expand(1, 6, 16, 16)
    found = losses._objects(2, Hypotheses(seeds, Masks(logits, None)))
    assert found[seeds.alive].tolist() == [-1, 0, 1, -1, -1]


def test_mp_12_births_are_called_for_where_objects_lack_a_hypothesis():
    """By the fullest cells of objects that none of a level's hypotheses has, sums by their number."""
    recipe = small_recipe(model={"growth": {"births": "learnt", "newborns": [2], "max_alive": [3]}})
    config, batch = recipe.config, batch_of(*two_images())
    losses, truth = Losses(recipe.model, recipe.runtime), make_truth(batch, recipe.config)
    levels = recipe.model(network_input(batch.images, batch.sizes, config.input), batch.sizes, truth).levels
    found, missed, sums = losses._birth_loss(levels, truth), 0, 0.0
    assert levels[-1].calls is None
    for index, level in enumerate(levels[:-1]):
        wanted = torch.zeros_like(level.calls[:, 0])
        for image, objects in enumerate(truth.objects.tolist()):
            own = level.hypotheses.seeds.objects[image][level.hypotheses.seeds.alive[image]].tolist()
            for row in objects:
                if row >= 0 and row not in own:
                    cell = int(truth.targets[index][row].argmax())
                    wanted[image].view(-1)[cell] = 1
        missed += int(wanted.sum())
        sums += functional.binary_cross_entropy_with_logits(level.calls[:, 0], wanted, reduction="sum").item()
    assert missed and found.item() == pytest.approx(sums / missed, rel=1e-5)
