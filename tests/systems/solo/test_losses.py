# SPDX-License-Identifier: Apache-2.0
"""The losses of a batch are their formulas, and what is computed of masks is no more than what these need."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from ldie.systems.solo import SOLORecipe
from ldie.systems.solo.head import SOLOHead
from ldie.systems.solo.losses import category_loss
from ldie.systems.solo.targets import make_targets
from ldie.tasks.detection.batches import Batch, network_input
from systems.rcnn.helpers import gradients, no_objects, squares, two_images
from systems.solo.helpers import CLASSES, LOSSES, SMALL, batch_of, small_config, small_recipe
from torch import Tensor
from torch.nn import functional

import ldie_ext


def resized(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    return functional.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def plain_losses(recipe: SOLORecipe, batch: Batch) -> dict[str, Tensor]:
    """All masks of all places, made as fine as the targets, and a loop over images and places."""
    model, config = recipe.model, recipe.config
    head, solver = config.model.head, config.solver
    targets = make_targets(batch, config)
    outlook = model(network_input(batch.images, batch.sizes, config.input))
    dice, start, cls = [], 0, torch.zeros(())
    smooth_above, smooth_below = solver.dice_smooth
    for level, (features, masks, width) in enumerate(zip(outlook.features, targets.masks, targets.widths)):
        pixels = masks
        if masks.dtype == torch.uint8:
            pixels = (masks[..., None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten(2)[..., :width].float()
        everything = model.head.conv_mask_list[level](features)
        size = (pixels.shape[1], pixels.shape[2])
        if head.sigmoid_after_up:
            everything = resized(everything, size, head.align_corners).sigmoid()
        else:
            everything = resized(everything.sigmoid(), size, head.align_corners)
        own = targets.positives[level]
        images = torch.arange(len(batch.sizes)).repeat_interleave(torch.tensor(own.counts))
        for image, place, row in zip(images.tolist(), own.places.tolist(), own.objects.tolist()):
            p, t = everything[image, place], pixels[row]
            both, alone = (p * t).sum(), p.square().sum() + t.square().sum()
            dice.append(1 - (2 * both + smooth_above) / (alone + smooth_below))
        logits, cells = outlook.categories[level].flatten(2), head.grids[level] ** 2
        for image, labels in enumerate(targets.labels[:, start : start + cells]):
            for cell, label in enumerate(labels.tolist()):
                for index in range(CLASSES):
                    p = logits[image, index, cell].sigmoid()
                    right, weight = (p, solver.focal_alpha) if label == index else (1 - p, 1 - solver.focal_alpha)
                    cls = cls - weight * (1 - right) ** solver.focal_gamma * right.log()
        start += cells
    count = len(dice) + (len(batch.sizes) if solver.count_images else 1)
    mask = torch.stack(dice).mean() if dice else torch.zeros(())
    return {"loss_cls": solver.category_weight * cls / count, "loss_mask": solver.mask_weight * mask}


FORMS: dict[str, dict[str, Any]] = {
    "as published": {},
    "a fork's": {
        "model": {"head": {"align_corners": True, "category_kernel": 1, "category_per_level": True}},
        "solver": {"dice_smooth": [1, 1], "multi_scale_loss": False, "loss_stride": 4, "count_images": True},
    },
    "probabilities are interpolated": {
        "model": {"head": {"sigmoid_after_up": False}},
        "solver": {"mask_targets": "fraction", "multi_scale_loss": False, "loss_stride": 2},
    },
    "before the branch": {"model": {"head": {"upsample_pos": "before"}}, "solver": {"mask_targets": "nearest"}},
    "other weights": {
        "solver": {"focal_alpha": 0.3, "focal_gamma": 2.2, "category_weight": 0.5, "mask_weight": 2.0},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_so_6_masks_of_positives_alone_have_the_losses_and_gradients_of_all(name: str) -> None:
    """Also SO-5: one call for all instances is a loop over them."""
    batch = batch_of(*two_images(), no_objects())
    ours, plain = small_recipe(**FORMS[name]), small_recipe(**FORMS[name])
    found = ours.train_step(batch, 0)
    expected = plain_losses(plain, batch)
    torch.testing.assert_close({key: found[key] for key in LOSSES}, {k: v.detach() for k, v in expected.items()})
    assert found["loss"].item() == pytest.approx(sum(found[key].item() for key in LOSSES))
    total = torch.stack(list(expected.values())).sum()
    weights = dict(plain.model.named_parameters())
    wanted = dict(zip(weights, torch.autograd.grad(total, weights.values(), allow_unused=True)))
    for key, weight in ours.model.named_parameters():
        assert weight.grad is not None and wanted[key] is not None, key
        scale = wanted[key].abs().max().item()
        torch.testing.assert_close(weight.grad, wanted[key], rtol=1e-3, atol=1e-5 * max(scale, 1), msg=key)


def clipless(**sections: Any) -> SOLORecipe:
    """Whose gradients stay what they are after a step."""
    return small_recipe(solver={"gradient_clip": 0}, **sections)


def test_so_6_no_mask_is_computed_but_those_of_positives() -> None:
    """Neither by the last convolution nor by the op."""
    recipe, batch = small_recipe(), batch_of(*two_images(), no_objects())
    positives = [sum(own.counts) for own in make_targets(batch, recipe.config).positives]
    computed: list[int] = []
    masks, dice = SOLOHead.masks, ldie_ext.gather_upsample_dice

    def counted(head: SOLOHead, *args: Any) -> Tensor:
        logits = masks(head, *args)
        computed.append(len(logits))
        return logits

    with (
        patch.object(SOLOHead, "masks", counted),
        patch.object(ldie_ext, "gather_upsample_dice", wraps=dice) as op,
        patch.object(recipe.model.head.conv_mask_list[0], "forward", side_effect=AssertionError),
    ):
        recipe.train_step(batch, 0)
    assert computed == positives and [len(call.args[0]) for call in op.call_args_list] == positives
    assert 0 < sum(positives) < 27 < sum(grid**2 for grid in SMALL.model.head.grids)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("sigmoid", ["after", "before"])
@pytest.mark.parametrize("smooth", [(0.0, 0.002), (1.0, 1.0)])
def test_so_5_dice_of_all_instances_is_a_loop_over_them(
    align_corners: bool, sigmoid: str, smooth: tuple[float, float]
) -> None:
    """Each instance against its own mask, each weighing the same however large it is."""
    logits = torch.randn(9, 8, 12, requires_grad=True)
    truth, rows = torch.rand(4, 16, 24) > 0.6, torch.tensor([0, 3, 3, 1, 2, 0, 0, 1, 3])
    truth[2] = False
    found = ldie_ext.gather_upsample_dice(
        logits, truth, rows=rows, align_corners=align_corners, sigmoid=sigmoid, smooth=smooth, reduction="sum"
    )
    total = torch.zeros(())
    for logit, row in zip(logits, rows):
        values = logit if sigmoid == "after" else logit.sigmoid()
        values = resized(values[None, None], (16, 24), align_corners)[0, 0]
        p, t = values.sigmoid() if sigmoid == "after" else values, truth[row].float()
        total = total + 1 - (2 * (p * t).sum() + smooth[0]) / ((p * p).sum() + t.sum() + smooth[1])
    torch.testing.assert_close(found, total)
    ours, wanted = (torch.autograd.grad(value, logits)[0] for value in (found, total))
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("category", ["sigmoid", "softmax"])
def test_category_losses_are_those_of_torch(category: str) -> None:
    """Focal loss of each class alone, or cross entropy of classes and background; summed over places."""
    config = small_config(model={"head": {"category": category}}, solver={"focal_alpha": 0.3, "focal_gamma": 2.2})
    levels = [torch.randn(2, CLASSES + (category == "softmax"), side, side, requires_grad=True) for side in (5, 3)]
    labels = torch.randint(-1, CLASSES, (2, 34))
    logits = torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2)
    if category == "softmax":
        wanted = functional.cross_entropy(logits.flatten(0, 1), (labels % (CLASSES + 1)).flatten(), reduction="sum")
    else:
        truth = (labels[..., None] == torch.arange(CLASSES)).float()
        p = logits.sigmoid()
        right, weight = torch.where(truth > 0, p, 1 - p), torch.where(truth > 0, 0.3, 0.7)
        wanted = -(weight * (1 - right) ** 2.2 * right.log()).sum()
    found = category_loss(levels, labels, config)
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(torch.autograd.grad(found, levels), torch.autograd.grad(wanted, levels)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objects", [0, 1])
def test_images_without_objects_have_no_loss_of_masks(objects: int) -> None:
    """And no gradient of it: it is zero and not missing, so that optimizers and other processes go on as ever."""
    samples = [no_objects(3), squares(*[(20, 20, 20)] * objects, image_id=4)]
    batch = batch_of(*samples)
    found, terms = gradients(clipless(), batch), clipless().train_step(batch, 0)
    assert all(bool(value.isfinite().all()) for value in (*terms.values(), *found.values()))
    assert terms["loss_cls"] > 0 and (terms["loss_mask"] > 0) == bool(objects)
    of_masks = {name: value for name, value in found.items() if ".mask_convs." in name or ".conv_mask_list." in name}
    assert len(of_masks) == len(
        [name for name, _ in clipless().model.named_parameters() if ".mask_conv" in name or "conv_mask" in name]
    )
    assert any(bool(value.any()) for value in of_masks.values()) == bool(objects)


def test_objects_without_a_pixel_have_no_loss_of_masks_but_where_they_are_wanted() -> None:
    """With ``skip_empty=false`` they are learned, and of no mask: then every probability is too large."""
    sample = squares((20, 20, 20))
    sample.masks = ldie_ext.Polygons.from_coco([[[0.0, 0, 0, 0, 0, 0]]])
    batch = batch_of(sample)
    skipped = clipless().train_step(batch, 0)
    assert skipped["loss_mask"] == 0 and skipped["loss"].isfinite()
    recipe = small_recipe(solver={"gradient_clip": 0, "assign": {"skip_empty": False}})
    learned = gradients(recipe, batch)
    assert all(bool(value.isfinite().all()) for value in learned.values())
    terms = recipe.train_step(batch, 0)
    assert terms["loss_mask"].item() == pytest.approx(3.0, abs=1e-3)  # 1 of each, three times
