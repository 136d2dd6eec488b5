"""Requirements CN-1 to CN-8 and CN-11: how settings, discriminator scores and boxes turn into losses."""

import itertools

import pytest
import reference.adversarial as reference
import torch
from ldie.config import merge
from ldie.errors import ConfigError
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.discriminator import build_discriminator
from ldie.systems.centernet.losses import adversarial_loss, detection_losses, weighted_sum
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.targets import ScaleBatch, cell_targets
from systems.centernet.helpers import CLASSES, make_targets, small_config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import ldie_ext

SIZE = (16, 16)


def mask_config(masking: bool = True, agnostic: bool = False, normalize: bool = True, kind: str = "wasserstein"):
    return small_config(
        model={
            "discriminator": {
                "masking": masking,
                "masking_class_agnostic": agnostic,
                "normalize_loss_with_mask": normalize,
            }
        },
        solver={"adv_loss_fn": kind},
    )


def make_scores(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def class_masks(targets, agnostic: bool = False) -> torch.Tensor:
    return reference.box_class_masks(
        targets.boxes, targets.labels, targets.offsets, CLASSES, SIZE, class_agnostic=agnostic
    )


def plain_sum(scores: torch.Tensor, scale: int, weights: torch.Tensor) -> torch.Tensor:
    """sum over cells of weight * (scores of the other scales - score of the true scale)."""
    signs = torch.ones(3)
    signs[scale] = -1
    return (weights[:, None] * signs[:, None, None] * scores).sum()


@pytest.mark.parametrize("down_ratio", [4, 2, 1])
@pytest.mark.parametrize("agnostic", [False, True])
def test_cn_1_masks_of_the_ground_truth_boxes(down_ratio, agnostic):
    """A box covers the cells from trunc(x1) to trunc(x2) of its class's plane; covered twice counts once."""
    boxes = [[8.0, 4.0, 24.9, 31.9], [10.0, 9.5, 18.0, 20.0], [10.0, 9.5, 18.0, 20.0], [1.0, 1.0, 1.9, 9.0]]
    labels, owners = [2, 2, 0, 1], [0, 0, 0, 1]
    batch = ScaleBatch(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor(boxes), torch.tensor(labels), torch.tensor([0, 3, 4])
    )
    side = 32 // down_ratio
    targets = cell_targets(batch, down_ratio, (side, side), 8)
    expected = torch.zeros(2, 1 if agnostic else CLASSES, side, side, dtype=torch.bool)
    for (x1, y1, x2, y2), label, owner in zip(boxes, labels, owners):
        rows, columns = (slice(int(low / down_ratio), int(high / down_ratio)) for low, high in ((y1, y2), (x1, x2)))
        expected[owner, 0 if agnostic else label, rows, columns] = True
    masks = ldie_ext.box_class_masks(
        targets.boxes, targets.labels, targets.offsets, CLASSES, (side, side), class_agnostic=agnostic
    )
    assert torch.equal(masks, expected)
    assert expected[0].any()


class LargestResult(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operator makes."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_cn_2_masks_are_applied_without_the_product(agnostic, normalize):
    """Value and gradient are those of the materialised [B * Nc, 3, H, W], of which no operator makes a part."""
    targets, scores = make_targets(), make_scores().requires_grad_()
    config = mask_config(True, agnostic, normalize)
    masks = class_masks(targets, agnostic)
    product = ldie_ext.materialize_masked_scores(scores, masks)
    assert product.shape == (2 * masks.shape[1], 3, *SIZE)
    signs = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    expected = (signs * product).sum() / (3 * masks.sum() if normalize else product.numel())
    with LargestResult() as watch:
        loss = adversarial_loss(scores, 1, targets, config, "detector")
        (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, scores)[0])
    assert watch.largest == scores.numel()


def test_cn_5_shapes_of_the_published_batch():
    """Scores 32 x 3 x 128 x 128; masks 32 x 1 or 32 x 80 planes of that size; other sizes are refused by name."""
    boxes, labels = torch.zeros(32, 4), torch.zeros(32, dtype=torch.int64)
    offsets = torch.arange(33)
    with FakeTensorMode(allow_non_fake_inputs=True):
        discriminator = build_discriminator(PRESETS["full"].model.discriminator, 64, 3)
        scores = discriminator(torch.empty(32, 64, 128, 128))
        assert scores.shape == (32, 3, 128, 128)
        for agnostic, planes in ((True, 1), (False, 80)):
            masks = ldie_ext.box_class_masks(boxes, labels, offsets, 80, (128, 128), class_agnostic=agnostic)
            assert masks.shape == (32, planes, 128, 128)
            assert ldie_ext.masked_scale_loss(scores, 0, masks=masks).shape == ()
    with pytest.raises(RuntimeError, match="masks"):
        ldie_ext.masked_scale_loss(torch.zeros(2, 3, 8, 8), 0, masks=torch.zeros(2, 80, 8, 9, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="scores"):
        ldie_ext.masked_scale_loss(torch.zeros(3, 8, 8), 0)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_masks_of_a_discriminator_without_padding_lose_its_margin(agnostic, normalize):
    config = merge(
        mask_config(True, agnostic, normalize),
        {"model": {"discriminator": {"type": "residual_wo_padding", "blocks": 2}}},
    )
    margin = config.model.discriminator.margin
    assert margin == 6
    targets = make_targets(size=32)
    masks = reference.box_class_masks(
        targets.boxes, targets.labels, targets.offsets, CLASSES, (32, 32), class_agnostic=agnostic
    )[:, :, margin:-margin, margin:-margin]
    assert masks.any() and not masks.all()
    scores = torch.randn(2, 3, 20, 20)
    count = 3 * masks.sum() if normalize else 3 * masks.numel()
    loss = adversarial_loss(scores, 1, targets, config, "detector")
    torch.testing.assert_close(loss, plain_sum(scores, 1, masks.sum(1)) / count)


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_scores_of_whole_images(kind):
    scores, signs = torch.randn(4, 3), torch.tensor([-1.0, 1.0, 1.0])
    values = signs * scores if kind == "wasserstein" else (1 + signs * scores).relu()
    loss = adversarial_loss(scores, 0, make_targets(), mask_config(masking=False, kind=kind), "detector")
    torch.testing.assert_close(loss, values.mean())


@pytest.mark.parametrize(("masking", "agnostic", "normalize"), list(itertools.product([False, True], repeat=3)))
def test_cn_3_truth_table(masking, agnostic, normalize):
    targets, scores = make_targets(), make_scores()
    masks = class_masks(targets, agnostic)
    weights = masks.sum(1) if masking else torch.ones(2, *SIZE)
    if not masking:
        count = scores.numel()
    elif normalize:
        count = 3 * int(masks.sum())
    else:
        count = 3 * masks.numel()
    loss = adversarial_loss(scores, 1, targets, mask_config(masking, agnostic, normalize), "detector")
    torch.testing.assert_close(loss, plain_sum(scores, 1, weights) / count)


def test_cn_3_rows_differ_only_where_they_should():
    targets, scores = make_targets(), make_scores()
    values = {
        row: adversarial_loss(scores, 1, targets, mask_config(*row), "detector").item()
        for row in itertools.product([False, True], repeat=3)
    }
    unmasked = {value for (masking, _, _), value in values.items() if not masking}
    masked = {value for (masking, _, _), value in values.items() if masking}
    assert len(unmasked) == 1
    assert len(masked) == 4
    assert not masked & unmasked


def test_cn_4_class_masks_weight_a_cell_by_its_classes():
    targets, scores = make_targets(), make_scores()
    classes_per_cell = class_masks(targets).sum(1)
    assert classes_per_cell.max() > 1, "the boxes must overlap across classes for this test to tell the modes apart"
    for agnostic, weights in ((False, classes_per_cell), (True, classes_per_cell.clamp(max=1))):
        loss = adversarial_loss(scores, 0, targets, mask_config(agnostic=agnostic), "detector")
        torch.testing.assert_close(loss, plain_sum(scores, 0, weights) / (3 * weights.sum()))


def test_cn_6_scale_index_is_the_channel():
    targets = make_targets()
    scores = torch.zeros(2, 3, *SIZE)
    scores[:, 2] = 1.0
    losses = [adversarial_loss(scores, scale, targets, mask_config(), "detector").item() for scale in range(3)]
    assert losses == pytest.approx([1 / 3, 1 / 3, -1 / 3])


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_cn_7_sides_oppose_and_inputs_stay(kind):
    targets, config = make_targets(), mask_config(kind=kind)
    scores = make_scores().requires_grad_()
    before = scores.detach().clone()
    gradients = {}
    for side in ("detector", "discriminator"):
        loss = adversarial_loss(scores, 1, targets, config, side)
        gradients[side] = torch.autograd.grad(loss, scores)[0]
        if kind == "wasserstein":
            other = adversarial_loss(scores, 1, targets, config, "detector")
            torch.testing.assert_close(loss, other if side == "detector" else -other)
    torch.testing.assert_close(scores.detach(), before, rtol=0, atol=0)
    covered = class_masks(targets).any(1)
    assert (gradients["detector"][:, 1][covered] <= 0).all(), "the detector raises the score of the true scale"
    assert (gradients["detector"][:, 0][covered] >= 0).all()
    assert (gradients["discriminator"][:, 1][covered] >= 0).all(), "the discriminator lowers it"
    assert (gradients["discriminator"][:, 0][covered] <= 0).all()
    for gradient in gradients.values():
        assert not gradient.movedim(1, -1)[~covered].any(), "cells outside all boxes do not count"


def test_cn_8_normalisation_identity():
    targets, scores = make_targets(), make_scores()
    for agnostic in (False, True):
        masks = class_masks(targets, agnostic)
        normalised, plain = (
            adversarial_loss(scores, 2, targets, mask_config(True, agnostic, normalize), "detector").double()
            for normalize in (True, False)
        )
        torch.testing.assert_close(normalised * masks.sum(), plain * masks.numel(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("side", ["detector", "discriminator"])
def test_cn_11_hinge_by_the_formula(side):
    targets, scores = make_targets(), make_scores()
    masks = class_masks(targets)
    signs = torch.tensor([1.0, -1.0, 1.0]) * (1 if side == "detector" else -1)
    expected = (masks.sum(1)[:, None] * (1 + signs[:, None, None] * scores).relu()).sum() / (3 * masks.sum())
    loss = adversarial_loss(scores, 1, targets, mask_config(kind="hinge"), side)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_cn_11_no_boxes_no_loss(kind):
    empty = ScaleBatch(
        images=torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        offsets=torch.zeros(3, dtype=torch.int64),
    )
    targets = cell_targets(empty, 1, SIZE, 8)
    scores = make_scores().requires_grad_()
    loss = adversarial_loss(scores, 0, targets, mask_config(kind=kind), "discriminator")
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_detection_loss_of_perfect_maps_is_nearly_zero():
    targets = make_targets()
    heatmap = torch.full((2, CLASSES, *SIZE), -20.0)
    wh, offset = torch.zeros(2, 2, *SIZE), torch.zeros(2, 2, *SIZE)
    for image, slot in targets.centers.valid.nonzero().tolist():
        y, x = divmod(int(targets.centers.index[image, slot]), SIZE[1])
        label = int(targets.labels[targets.offsets[image] + slot])
        heatmap[image, label, y, x] = 20.0
        wh[image, :, y, x] = targets.centers.wh[image, slot]
        offset[image, :, y, x] = targets.centers.offset[image, slot]
    solver = small_config().solver.detector
    perfect = weighted_sum(detection_losses(Maps(heatmap, wh, offset), targets, solver), solver)
    wrong = weighted_sum(detection_losses(Maps(-heatmap, wh + 2, offset), targets, solver), solver)
    assert perfect < 1e-3
    assert wrong > 1


def test_detection_loss_weights():
    solver = small_config().solver.detector
    losses = {name: torch.tensor(value) for name, value in {"hm_loss": 2.0, "wh_loss": 30.0, "reg_loss": 5.0}.items()}
    assert weighted_sum(losses, solver).item() == pytest.approx(2 + 0.1 * 30 + 5)


@pytest.mark.parametrize("masking", [True, False])
def test_legacy_inplace_is_minus_the_mean_of_all_scores(masking):
    """The published code flips the true scale's score in place before the discriminator's loss reads it."""
    targets, scores = make_targets(), make_scores()
    config = mask_config(masking=masking)
    legacy = merge(config, {"solver": {"legacy_inplace": True}})
    weights = class_masks(targets).sum(1).float() if masking else torch.ones(2, *SIZE)
    expected = -(weights[:, None] * scores).sum() / (3 * weights.sum())
    kept = scores.clone()
    for scale in range(3):
        torch.testing.assert_close(adversarial_loss(scores, scale, targets, legacy, "discriminator"), expected)
        sides = [adversarial_loss(scores, scale, targets, each, "detector") for each in (legacy, config)]
        assert torch.equal(*sides)
    assert torch.equal(scores, kept)


def test_legacy_inplace_is_about_wasserstein():
    with pytest.raises(ConfigError, match=r"solver\.legacy_inplace is about"):
        merge(mask_config(kind="hinge"), {"solver": {"legacy_inplace": True}}).check()


def test_mask_round_outward_keeps_thin_boxes():
    boxes = torch.tensor([[3.2, 4.0, 3.8, 9.0]])
    batch = ScaleBatch(torch.zeros(1, 3, *SIZE, dtype=torch.uint8), boxes, torch.tensor([1]), torch.tensor([0, 1]))
    targets = cell_targets(batch, 1, SIZE, max_objects=8)
    scores = torch.ones(1, 3, *SIZE)
    losses = {
        rounding: adversarial_loss(
            scores, 0, targets, small_config(model={"discriminator": {"mask_round": rounding}}), "detector"
        ).item()
        for rounding in ("trunc", "outward")
    }
    assert losses["trunc"] == 0
    assert losses["outward"] == pytest.approx(1 / 3)
