# SPDX-License-Identifier: Apache-2.0
"""The losses against their formulas, with gradients; what is not in use has no effect, whatever stands there."""

from __future__ import annotations

import math

import pytest
import torch
from ldie.systems.rcnn.config import LossConfig
from ldie.systems.rcnn.losses import box_losses, keypoint_loss, mask_loss, proposal_losses, smooth_l1
from ldie.systems.rcnn.proposals import Outlook
from ldie.systems.rcnn.regions import Regions
from ldie.systems.rcnn.targets import AnchorTargets
from torch import Tensor
from torch.autograd import grad, gradcheck
from torch.nn.functional import one_hot

import ldie_ext

CLASSES, NAN = 3, float("nan")
BETAS = [0.0, 0.5]


def outlook_of(logits: Tensor, deltas: Tensor) -> Outlook:
    return Outlook(logits, deltas, torch.zeros(logits.shape[1], 4), (logits.shape[1],))


def anchor_targets() -> AnchorTargets:
    """Of 2 images with 12 anchors: 3 and 0 positive, 2 and 3 negative, the others not used."""
    index = torch.tensor([[1, 4, 11, 2, 3, 0, 0], [5, 6, 9, 0, 0, 0, 0]])
    used = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0]]).bool()
    positive = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [0] * 7]).bool()
    return AnchorTargets(index, used, positive, torch.randn(2, 7, 4).where(positive[..., None], 0))


def make_regions(count: int = 10) -> Regions:
    """The first half of objects, some of the others not in use."""
    labels = torch.where(torch.arange(count) < count // 2, torch.arange(count) % CLASSES, CLASSES)
    used = torch.arange(count) % 4 != 3
    return Regions(torch.zeros(count, 4), torch.tensor([0, count]), labels, torch.zeros(count).long(), used)


def huber(difference: float, beta: float) -> float:
    """Square within beta, linear outside, and as steep where they meet."""
    size = abs(difference)
    return size - beta / 2 if size >= beta else size * size / (2 * beta)


def log_loss(logit: Tensor, positive: bool) -> Tensor:
    probability = 1 / (1 + torch.exp(-logit))
    return -(probability if positive else 1 - probability).log()


@pytest.mark.parametrize("beta", BETAS)
def test_smooth_l1_is_the_formula(beta: float) -> None:
    values, targets = torch.randn(20, 4).double(), torch.randn(20, 4).double()
    values[0], targets[0] = torch.tensor([0.0, 0.5, -0.5, 3.0]).double(), 0
    expected = sum(huber(float(a - b), beta) for a, b in zip(values.flatten(), targets.flatten()))
    assert float(smooth_l1(values, targets, beta)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_proposal_losses_are_the_formulas(beta: float) -> None:
    """Over the samples that the images have room for, 2 x 7, whatever their number is."""
    logits, deltas = (torch.randn(*shape).double().requires_grad_() for shape in ((2, 12), (2, 12, 4)))
    targets = anchor_targets()
    losses = proposal_losses(outlook_of(logits, deltas), targets, LossConfig(proposal_beta=beta))
    objectness, box = torch.zeros(()).double(), 0.0
    for image, slot in targets.used.nonzero().tolist():
        anchor, positive = int(targets.index[image, slot]), bool(targets.positive[image, slot])
        objectness = objectness + log_loss(logits[image, anchor], positive) / 14
        if positive:
            difference = (deltas[image, anchor] - targets.deltas[image, slot]).tolist()
            box += sum(huber(value, beta) for value in difference) / 14
    torch.testing.assert_close(losses["rpn_cls_loss"], objectness)
    assert losses["rpn_loc_loss"].item() == pytest.approx(box, rel=1e-6)
    torch.testing.assert_close(grad(losses["rpn_cls_loss"], logits), grad(objectness, logits))
    (of_deltas,) = grad(losses["rpn_loc_loss"], deltas)
    learning = torch.zeros(2, 12, dtype=torch.bool)
    learning[0, [1, 4, 11]] = True
    assert torch.equal(of_deltas.ne(0).any(2), learning)


def test_proposal_losses_do_not_see_what_is_not_sampled() -> None:
    """NaN and infinity at anchors that are no samples, among them the first, where unused slots point to."""
    logits, deltas = torch.randn(2, 12), torch.randn(2, 12, 4)
    targets = anchor_targets()
    wanted = proposal_losses(outlook_of(logits, deltas), targets, LossConfig())
    sampled = torch.zeros(2, 12, dtype=torch.bool)
    for image, slot in targets.used.nonzero().tolist():
        sampled[image, targets.index[image, slot]] = True
    for value in (NAN, math.inf):
        spoilt = logits.masked_fill(~sampled, value).requires_grad_()
        positive = torch.zeros(2, 12, dtype=torch.bool)
        positive[0, [1, 4, 11]] = True
        spoilt_deltas = deltas.masked_fill(~positive[..., None], value).requires_grad_()
        losses = proposal_losses(outlook_of(spoilt, spoilt_deltas), targets, LossConfig())
        torch.testing.assert_close(losses, wanted)
        sum(losses.values()).backward()
        for gradient in (spoilt.grad, spoilt_deltas.grad):
            assert gradient is not None and bool(gradient.isfinite().all())


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("agnostic", [False, True])
def test_box_losses_are_the_formulas(beta: float, agnostic: bool) -> None:
    """Classes by a softmax of all, boxes of each object's own class by a one-hot product over all of them."""
    regions, count = make_regions(), torch.tensor(6.5).double()
    logits = torch.randn(10, CLASSES + 1).double().requires_grad_()
    deltas = torch.randn(10, 4 if agnostic else 4 * CLASSES).double().requires_grad_()
    targets = torch.randn(10, 4).double()
    losses = box_losses(logits, deltas, targets, regions, LossConfig(box_beta=beta), count)
    one = one_hot(regions.labels, CLASSES + 1).double()
    surprise = logits.exp().sum(1).log() - (one * logits).sum(1)
    classes = (surprise * regions.used).sum() / 6.5
    chosen = torch.ones(10, 1).double() if agnostic else one[:, :-1]
    off = ((deltas.unflatten(1, (-1, 4)) * chosen[..., None]).sum(1) - targets).abs()
    each = torch.where(off < beta, off**2 / (2 * beta), off - beta / 2) if beta else off
    box = (each.sum(1) * (regions.used & (regions.labels < CLASSES))).sum() / 6.5
    for name, expected, inputs in (("cls_loss", classes, logits), ("loc_loss", box, deltas)):
        torch.testing.assert_close(losses[name], expected)
        torch.testing.assert_close(grad(losses[name], inputs), grad(expected, inputs))


@pytest.mark.parametrize("agnostic", [False, True])
def test_box_losses_do_not_see_regions_that_are_not_used(agnostic: bool) -> None:
    """Nor boxes of background: a proposal without area has offsets that are not finite."""
    regions, count = make_regions(), torch.tensor(7.0)
    logits, deltas = torch.randn(10, CLASSES + 1), torch.randn(10, 4 if agnostic else 4 * CLASSES)
    boxes, points = torch.tensor([[2.0, 2.0, 9.0, 9.0]]).expand(10, 4), torch.full((10, 4), 3.0)
    objects = regions.used & (regions.labels < CLASSES)
    finite = ldie_ext.encode_boxes(boxes, boxes + 1, (10.0, 10.0, 5.0, 5.0))
    targets = finite.where(objects[:, None], ldie_ext.encode_boxes(boxes, points))
    assert not targets.isfinite().all()
    wanted = box_losses(logits, deltas, finite, regions, LossConfig(), count)
    for value in (NAN, math.inf):
        spoilt = logits.masked_fill(~regions.used[:, None], value).requires_grad_()
        spoilt_deltas = deltas.masked_fill(~objects[:, None], value).requires_grad_()
        losses = box_losses(spoilt, spoilt_deltas, targets, regions, LossConfig(), count)
        torch.testing.assert_close(losses, wanted)
        sum(losses.values()).backward()
        for gradient in (spoilt.grad, spoilt_deltas.grad):
            assert gradient is not None and bool(gradient.isfinite().all())
            assert not gradient[~regions.used].any()


def test_mask_loss_is_the_formula() -> None:
    regions, count = make_regions(), torch.tensor(2.5).double()
    logits = torch.randn(10, CLASSES, 4, 4).double().requires_grad_()
    masks = torch.rand(10, 4, 4) < 0.5
    used = regions.used & (regions.labels < CLASSES)
    objects = Regions(regions.boxes, regions.offsets, regions.labels, regions.rows, used)
    loss = mask_loss(logits, masks, objects, count)
    expected = torch.zeros(()).double()
    for row in used.nonzero().flatten().tolist():
        own = logits[row, regions.labels[row]]
        each = torch.where(masks[row], log_loss(own, True), log_loss(own, False))
        expected = expected + each.mean() / 2.5
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(grad(loss, logits), grad(expected, logits))
    spoilt = logits.detach().masked_fill(~used[:, None, None, None], NAN).requires_grad_()
    again = mask_loss(spoilt, masks, objects, count)
    torch.testing.assert_close(again, loss)
    (gradient,) = grad(again, spoilt)
    assert bool(gradient.isfinite().all()) and not gradient[~used].any()


def test_keypoint_loss_is_the_formula() -> None:
    logits = torch.randn(5, 4, 6, 6).double().requires_grad_()
    index, valid = torch.randint(0, 36, (5, 4)), torch.rand(5, 4) < 0.6
    count = torch.tensor(4.5).double()
    loss = keypoint_loss(logits, index, valid, count)
    chances = logits.flatten(2).exp() / logits.flatten(2).exp().sum(2, keepdim=True)
    expected = -(chances.gather(2, index[..., None])[..., 0].log() * valid).sum() / 4.5
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(grad(loss, logits), grad(expected, logits))
    spoilt = logits.detach().masked_fill(~valid[..., None, None], NAN).requires_grad_()
    again = keypoint_loss(spoilt, index, valid, count)
    torch.testing.assert_close(again, loss)
    assert bool(grad(again, spoilt)[0].isfinite().all())


def test_gradients_of_all_losses() -> None:
    targets, regions, count = anchor_targets(), make_regions(), torch.tensor(3.0).double()
    wanted = torch.randn(10, 4).double()
    config = LossConfig(proposal_beta=0.3, box_beta=0.3)

    def total(logits: Tensor, deltas: Tensor, scores: Tensor, boxes: Tensor, masks: Tensor, maps: Tensor) -> Tensor:
        losses = proposal_losses(outlook_of(logits, deltas), targets, config)
        losses |= box_losses(scores, boxes, wanted, regions, config, count)
        drawn = mask_loss(masks, torch.ones(10, 3, 3).tril().bool(), regions, count)
        cells = keypoint_loss(maps, torch.tensor([[1, 3]]), torch.tensor([[True, False]]), count)
        return torch.stack([*losses.values(), drawn, cells]).sum()

    shapes = [(2, 12), (2, 12, 4), (10, CLASSES + 1), (10, 4 * CLASSES), (10, CLASSES, 3, 3), (1, 2, 3, 3)]
    assert gradcheck(total, [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes])


def test_losses_of_parts_add_up_over_a_common_count() -> None:
    """As on several processes, each with some of the regions."""
    regions, count = make_regions(), torch.tensor(8.0)
    logits, deltas, targets = torch.randn(10, CLASSES + 1), torch.randn(10, 4 * CLASSES), torch.randn(10, 4)
    whole = box_losses(logits, deltas, targets, regions, LossConfig(), count)
    parts = []
    for rows in (slice(0, 3), slice(3, 10)):
        fields = (getattr(regions, name)[rows] for name in ("labels", "rows", "used"))
        part = Regions(regions.boxes[rows], regions.offsets, *fields)
        parts.append(box_losses(logits[rows], deltas[rows], targets[rows], part, LossConfig(), count))
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)


def test_kr_11_losses_of_16_bit_outputs_are_float32() -> None:
    """Binary cross entropy of scores before any sigmoid, softmax cross entropy of scores before any softmax."""
    regions, count = make_regions(), torch.tensor(4.0)
    wide = torch.randn(10, CLASSES + 1), torch.randn(10, 4 * CLASSES), torch.randn(10, CLASSES, 4, 4)
    narrow = [values.bfloat16() for values in wide]
    losses = box_losses(narrow[0], narrow[1], torch.randn(10, 4), regions, LossConfig(), count)
    drawn = mask_loss(narrow[2], torch.zeros(10, 4, 4).bool(), regions, count)
    cells = keypoint_loss(narrow[2], torch.zeros(10, CLASSES).long(), torch.ones(10, CLASSES).bool(), count)
    assert {value.dtype for value in (*losses.values(), drawn, cells)} == {torch.float32}
    same = mask_loss(narrow[2].float(), torch.zeros(10, 4, 4).bool(), regions, count)
    assert torch.equal(drawn, same)


def test_kr_17_losses_of_nothing_are_zero_with_gradients() -> None:
    none = make_regions(0)
    inputs = [torch.zeros(0, *shape, requires_grad=True) for shape in ((4,), (12,), (3, 5, 5), (4, 5, 5))]
    count = torch.tensor(1.0)
    losses = box_losses(inputs[0], inputs[1], torch.zeros(0, 4), none, LossConfig(), count)
    losses["mask"] = mask_loss(inputs[2], torch.zeros(0, 5, 5).bool(), none, count)
    losses["keypoint"] = keypoint_loss(inputs[3], torch.zeros(0, 4).long(), torch.zeros(0, 4).bool(), count)
    assert [value.item() for value in losses.values()] == [0.0] * 4
    torch.stack(list(losses.values())).sum().backward()
    assert all(values.grad is not None for values in inputs)
