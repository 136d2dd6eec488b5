"""Training steps: what is legal in a batch, what keys do, precision, compiled networks, and waiting for no device."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from unittest.mock import patch

import pytest
import torch
from host_copies import host_copies
from ldie.engine.loader import to_device
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.rcnn import RCNNRecipe, regions, training
from ldie.systems.rcnn.batch import Batch, training_images
from ldie.systems.rcnn.config import RCNNConfig
from ldie.systems.rcnn.recipe import WEIGHT_OF
from ldie.systems.rcnn.targets import AnchorTargets, sample_regions
from ldie.tasks.detection import Sample
from numpy.random import default_rng
from systems.rcnn.helpers import (
    HEAD_LOSSES,
    PROPOSAL_LOSSES,
    SMALL,
    batch_of,
    changed_parts,
    facts_of,
    is_finite,
    make_shapes,
    make_trainer,
    no_objects,
    one_crowd,
    run_lengths,
    small_config,
    small_recipe,
    squares,
    state_of,
    two_images,
    without_area,
)

TERMS = PROPOSAL_LOSSES | HEAD_LOSSES | {"total_loss"}
BATCH_NORM = {
    "backbone": {"normalization": "batch"},
    "box_head": {"convs": 1, "normalization": "batch"},
    "mask_head": {"normalization": "batch"},
}


def trained(sample: Sample) -> Sample:
    """As the recipe makes it for training, in the same size."""
    return training_images(SMALL, facts_of(SMALL))(sample, default_rng(0))


def unlabelled_keypoints() -> Sample:
    sample = squares((10, 10, 20), image_id=7)
    return dataclasses.replace(sample, keypoints=torch.zeros_like(sample.keypoints))


BATCHES = {
    "no object in one image": [two_images()[0], no_objects()],
    "no object in any image": [no_objects(3), no_objects(4)],
    "one crowd as the only object": [one_crowd()],
    "a crowd's run lengths beside polygons": [run_lengths(squares((8, 8, 20), image_id=8)), *two_images()],
    "boxes without area": [without_area()],
    "keypoints of which none is labelled": [unlabelled_keypoints()],
    "a single small object": [squares((60, 60, 1), image_id=9)],
    "many objects": [squares(*((x, y, 6) for x in range(0, 60, 8) for y in range(0, 60, 8)), image_id=10)],
}


@pytest.mark.parametrize("norms", [{}, BATCH_NORM], ids=["group", "batch"])
@pytest.mark.parametrize("name", BATCHES)
def test_kr_17_every_batch_trains(name, norms):
    """Without a term or a weight that is no number; twice, for what the first step leaves."""
    recipe = small_recipe(model=norms)
    batch = batch_of(*map(trained, BATCHES[name]))
    before = state_of(recipe.model)
    for step in range(2):
        terms = recipe.train_step(batch, step)
        assert set(terms) == TERMS and is_finite(recipe, terms)
    assert "proposal_generator" in changed_parts(recipe.model, before)
    if not len(batch.boxes):
        assert all(terms[loss] == 0 for loss in ("rpn_loc_loss", "loc_loss", "mask_loss", "keypoint_loss"))
        assert terms["rpn_cls_loss"] > 0


def test_kr_17_what_is_no_target_is_left_out():
    assert len(trained(one_crowd())) == 0
    left = trained(without_area())
    assert left.boxes.tolist() in ([[10, 10, 30, 30]], [[34, 10, 54, 30]])
    assert len(left.masks) == len(left.keypoints) == 1


def test_kr_17_a_box_that_loses_its_area_to_rounding_is_left_out():
    """Numbers of float32 lie closer to each other on the left than where they are in the mirror."""
    sample = squares((10, 10, 20), (14, 14, 10))
    sample.boxes[1, 2:] = torch.nextafter(torch.tensor(14.0), torch.tensor(15.0))
    assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
    mirrored = training_images(small_config(solver={"data": {"mirror": 1.0}}), facts_of(SMALL))(sample, default_rng(0))
    assert mirrored.boxes.tolist() == [[34, 10, 54, 30]]


def test_kr_17_objects_are_cut_at_the_border():
    """Proposals end there, too: a box beyond could not be found."""
    sample = squares((50, 20, 14), image_id=11)
    sample.boxes[0] = torch.tensor([50.0, -4.0, 80.0, 34.0])
    (box,) = trained(sample).boxes.tolist()
    assert box in ([50, 0, 64, 34], [0, 0, 14, 34])


@pytest.mark.parametrize("name", ["two images", *BATCHES])
def test_kr_17_no_proposals_train(name):
    """Objects' own boxes are then all there is to learn classes from."""
    recipe = small_recipe(model={"proposals": {"nms_threshold": 0.5}})
    generator = recipe.model.proposal_generator

    def none(outlook, sizes, *, training):
        boxes = outlook.deltas.new_zeros(len(sizes), generator.options.post_nms_train, 4)
        return boxes, sizes.new_zeros(len(sizes))

    with patch.object(generator, "propose", none):
        terms = recipe.train_step(batch_of(*map(trained, BATCHES.get(name, two_images()))), 0)
    assert is_finite(recipe, terms)
    assert (terms["cls_loss"] > 0) == (name not in ("no object in any image", "one crowd as the only object"))


def polygons_and_crowd() -> list[Sample]:
    """An image whose masks are polygons beside one whose masks are run lengths, for a crowd is among them."""
    crowd = squares((8, 8, 20), (30, 30, 30), image_id=2, iscrowd=torch.tensor([False, True]))
    return [squares((20, 4, 30)), run_lengths(crowd)]


def test_kr_17_run_lengths_and_polygons_of_a_square_are_the_same_mask():
    """What a crowd in the same image does to the form of the masks is nothing that training sees."""
    losses = []
    for samples in (polygons_and_crowd(), [squares((20, 4, 30)), squares((8, 8, 20), image_id=2)]):
        mirrored = small_config(solver={"data": {"mirror": 0.0}})
        prepared = [training_images(mirrored, facts_of(SMALL))(sample, default_rng(0)) for sample in samples]
        images = batch_of(*two_images()).images
        losses.append(small_recipe().train_step(dataclasses.replace(batch_of(*prepared), images=images), 0))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-5)


def test_kr_16_512_regions_of_an_image_by_default():
    head = RCNNConfig().model.box_head
    boxes = torch.rand(1, 2000, 4).sort(2).values * 60
    batch, seeds = batch_of(squares((8, 8, 28))), torch.zeros(1, dtype=torch.int64)
    regions = sample_regions(boxes, torch.tensor([2000]), batch, head, "torchvision", 3, seeds)
    assert regions.used.sum() == 512


def test_kr_11_objectness_is_a_binary_cross_entropy_at_the_configured_ratio():
    """One score for each anchor; of the samples at most so many are positive, and the rest is filled up."""
    for fraction, positive in ((0.5, 2), (0.05, 1), (0.0, 0)):
        recipe = small_recipe(model={"proposals": {"samples": 20, "positive_fraction": fraction}})
        targets = sampled_anchors(recipe, batch_of(squares((8, 8, 28), (36, 36, 28))))
        assert targets.used.sum() == 20
        assert 0 <= targets.positive.sum() <= 20 * fraction
        assert (targets.positive.sum() >= positive) or not fraction
    logits = recipe.model.proposal_generator(recipe.model.backbone(torch.rand(1, 3, 64, 64)), (64, 64)).logits
    assert logits.shape == (1, 16 * 16 + 8 * 8 + 4 * 4)
    with torch.no_grad():
        for weight in recipe.model.proposal_generator.rpn_head.objectness_logits.parameters():
            weight.zero_()
    terms = recipe.train_step(batch_of(squares((8, 8, 28))), 0)
    assert terms["rpn_cls_loss"].item() == pytest.approx(math.log(2), rel=1e-5)


def sampled_anchors(recipe: RCNNRecipe, batch: Batch) -> AnchorTargets:
    """Of a step."""
    found = []
    original = training.anchor_targets
    with patch.object(training, "anchor_targets", lambda *args: found.append(original(*args)) or found[-1]):
        recipe.train_step(batch, 0)
    return found[0]


def test_kr_12_every_term_is_a_scalar():
    terms = small_recipe().train_step(batch_of(), 0)
    assert set(terms) == TERMS
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in terms.values())


@pytest.mark.parametrize("loss", WEIGHT_OF)
def test_kr_23_every_loss_has_a_weight(loss):
    plain, weighted = (
        small_recipe(solver={"loss": {WEIGHT_OF[loss]: weight}}).train_step(batch_of(), 0) for weight in (1, 3)
    )
    assert plain[loss] > 0
    torch.testing.assert_close(weighted["total_loss"], plain["total_loss"] + 2 * plain[loss])
    torch.testing.assert_close(weighted[loss], plain[loss])


KEYS = {
    "proposals.high": ({"proposals": {"high": 0.4}}, "rpn_loc_loss"),
    "proposals.low": ({"proposals": {"low": 0.02}}, "rpn_cls_loss"),
    "proposals.samples": ({"proposals": {"samples": 8}}, "rpn_cls_loss"),
    "proposals.nms_threshold": ({"proposals": {"nms_threshold": 0.1}}, "cls_loss"),
    "proposals.pre_nms_train": ({"proposals": {"pre_nms_train": 2}}, "cls_loss"),
    "proposals.post_nms_train": ({"proposals": {"post_nms_train": 3}}, "cls_loss"),
    "box_head.threshold": ({"box_head": {"threshold": 0.9}}, "cls_loss"),
    "box_head.samples": ({"box_head": {"samples": 6}}, "cls_loss"),
    "box_head.positive_fraction": ({"box_head": {"positive_fraction": 0.1}}, "cls_loss"),
    "box_head.weights": ({"box_head": {"weights": [1, 1, 1, 1]}}, "loc_loss"),
}


@pytest.mark.parametrize("key", KEYS)
def test_kr_23_thresholds_and_limits_take_effect(key):
    model, loss = KEYS[key]
    plain, other = (small_recipe(model=sections).train_step(batch_of(), 0) for sections in ({}, model))
    assert plain[loss] != other[loss]


def test_kr_23_smooth_l1_turns_where_it_says():
    for key, loss in (("proposal_beta", "rpn_loc_loss"), ("box_beta", "loc_loss")):
        l1, smooth = (small_recipe(solver={"loss": {key: beta}}).train_step(batch_of(), 0)[loss] for beta in (0, 1))
        assert 0 < smooth < l1


@pytest.mark.parametrize("key", ["score_threshold", "nms_threshold", "detections"])
def test_kr_23_thresholds_of_results_take_effect(key):
    loose, tight = {
        "score_threshold": (0.0, 0.35),
        "nms_threshold": (1.0, 0.1),
        "detections": (100, 3),
    }[key]
    counts = []
    for value in (loose, tight):
        model = small_recipe(test={"score_threshold": 0.0, key: value}).model.eval()
        with torch.no_grad():
            counts.append(len(model.predict([two_images()[0].image])[0].scores))
    assert counts[0] > counts[1]


def on_the_device():
    """Context in which there are as many regions as there is room for, as where the host must not wait."""
    return patch.object(regions, "_may_wait", lambda values: False)


@pytest.mark.parametrize("name", ["two images", *BATCHES])
def test_a_fixed_number_of_regions_gives_the_same_losses_and_gradients(name):
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    results = []
    for fixed in (False, True):
        recipe = small_recipe()
        with on_the_device() if fixed else nullcontext():
            terms = recipe.train_step(batch, 0)
        results.append((terms, {key: p.grad for key, p in recipe.model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize("name", ["two images", "a crowd's run lengths beside polygons", "no object in any image"])
def test_no_step_waits_for_the_device(name, convention):
    """Forward, backward and the optimizer's step copy nothing and ask for nothing."""
    recipe = small_recipe(model={"convention": convention}, solver={"optimizer": "sgd"})
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    with on_the_device():
        recipe.train_step(batch, 0)  # what is made once
        assert host_copies(lambda: recipe.train_step(batch, 1)) == []
    assert host_copies(lambda: recipe.train_step(batch, 2)) != [], "on the CPU unused regions are left out"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["two images", "no object in any image"])
def test_no_step_waits_for_the_gpu(name):
    """By the device's own word, the optimizer and clipping included."""
    device = torch.device("cuda")
    recipe = small_recipe(solver={"gradient_clip": 1.0})
    recipe.model.to(device)
    recipe = RCNNRecipe(recipe.model, recipe.model.config, TrainingRuntime(device, "bf16"))
    batch = to_device(batch_of(*map(trained, BATCHES.get(name, two_images()))), device)
    recipe.train_step(batch, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = recipe.train_step(batch, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert is_finite(recipe, terms)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["two images", "no object in any image", "keypoints of which none is labelled"])
def test_mixed_precision_trains(precision, name):
    """Losses are computed in float32 and close to those without."""
    batch = batch_of(*map(trained, BATCHES.get(name, two_images())))
    exact = small_recipe().train_step(batch, 0)
    recipe = small_recipe(precision)
    terms = recipe.train_step(batch, 0)
    assert is_finite(recipe, terms) and set(terms) == TERMS
    assert {value.dtype for value in terms.values()} == {torch.float32}
    for loss in ("rpn_cls_loss", "mask_loss", "keypoint_loss", "total_loss"):
        assert terms[loss].item() == pytest.approx(exact[loss].item(), rel=0.05, abs=1e-3)


def test_kr_10_overfits_one_image(tmp_path):
    """Its objects, their masks and keypoints are found where they are, by a network of 60,000 weights."""
    data, _ = make_shapes(tmp_path)
    one = data.subset([next(i for i in range(len(data)) if len(data.objects(i)) > 1)])
    solver = {"batch_size": 1, "max_iter": 150, "lr": 4e-3, "lr_schedule": "cosine", "data": {"mirror": 0.0}}
    metrics = make_trainer((one, one), tmp_path / "run", solver=solver).run()
    assert min(metrics[f"{kind}/AP50"] for kind in ("bbox", "segm", "keypoints")) >= 0.95
