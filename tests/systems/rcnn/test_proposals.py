# SPDX-License-Identifier: Apache-2.0
"""Proposals: which output belongs to which anchor, and what becomes of them, against loops in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from ldie.systems.rcnn.config import Convention, RCNNModel
from ldie.systems.rcnn.presets import TINY
from ldie.systems.rcnn.proposals import Outlook, ProposalGenerator
from reference.anchors import detectron2_cells, encode_boxes, level_anchors, torchvision_cells
from reference.overlaps import box_iou
from reference.proposals import decode, select_proposals
from systems.rcnn.batches import random_boxes
from torch import Tensor

CONVENTIONS: tuple[Convention, ...] = ("torchvision", "detectron2")
SIZE, RATIOS = (96, 160), (0.5, 1.0, 2.0)
SIDES = ((12.0, 17.0), (24.0, 34.0), (48.0, 68.0), (96.0, 128.0))
CLIP = torch.tensor(1000 / 16).log().item()


def make_config(convention: Convention, **proposals: object) -> RCNNModel:
    """Four levels with two sizes and three ratios each."""
    model = TINY.model
    return replace(
        model,
        convention=convention,
        proposals=replace(model.proposals, anchor_sizes=SIDES, anchor_ratios=RATIOS, anchor_offset=0.0, **proposals),
    )


def make_maps(images: int = 2) -> list[Tensor]:
    return [torch.randn(images, 32, SIZE[0] // stride, SIZE[1] // stride) for stride in (4, 8, 16, 32)]


class FromAnchors(torch.nn.Module):
    """Stands for a trained head: writes given values [B,A] and [B,A,4] where the head has an anchor's outputs.

    Channel ``a`` of the scores and channels ``4 a`` to ``4 a + 3`` of the offsets are those of anchor ``a`` of a cell.
    """

    def __init__(self, logits: Tensor, deltas: Tensor, cell: int) -> None:
        super().__init__()
        self.logits, self.deltas, self.cell = logits, deltas, cell

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, offsets, first = [], [], 0
        for level in maps:
            images, _, height, width = level.shape
            score = torch.zeros(images, self.cell, height, width)
            offset = torch.zeros(images, 4 * self.cell, height, width)
            for y in range(height):
                for x in range(width):
                    for anchor in range(self.cell):
                        score[:, anchor, y, x] = self.logits[:, first]
                        offset[:, 4 * anchor : 4 * anchor + 4, y, x] = self.deltas[:, first]
                        first += 1
            scores.append(score)
            offsets.append(offset)
        return scores, offsets


def expected_anchors(convention: Convention) -> Tensor:
    cells = torchvision_cells if convention == "torchvision" else detectron2_cells
    levels = [
        level_anchors(cells(sizes, RATIOS), (SIZE[0] // stride, SIZE[1] // stride), (stride, stride), 0.0)
        for sizes, stride in zip(SIDES, (4, 8, 16, 32), strict=True)
    ]
    return torch.cat(levels)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_kr_9_perfect_offsets_recover_the_objects(convention: Convention) -> None:
    """Written where the head has each anchor's outputs: every proposal is one of the objects, and all are found."""
    generator = ProposalGenerator(make_config(convention)).eval()
    anchors = expected_anchors(convention)
    objects = torch.stack([random_boxes(4, SIZE), random_boxes(4, SIZE)])
    deltas, logits = torch.zeros(2, len(anchors), 4), torch.zeros(2, len(anchors))
    for image in range(2):
        overlaps = box_iou(objects[image], anchors)
        best = overlaps.argmax(0)
        deltas[image] = encode_boxes(objects[image][best], anchors, (1, 1, 1, 1))
        logits[image] = overlaps.amax(0) * 20 - 10
        logits[image, overlaps.argmax(1)] = 15.0
    generator.rpn_head = FromAnchors(logits, deltas, 6)
    outlook = generator(make_maps(), SIZE)
    torch.testing.assert_close(outlook.anchors, anchors, rtol=0, atol=1e-4)
    assert torch.equal(outlook.logits, logits) and torch.equal(outlook.deltas, deltas)
    assert outlook.level_sizes == (24 * 40 * 6, 12 * 20 * 6, 6 * 10 * 6, 3 * 5 * 6)
    boxes, counts = generator.propose(outlook, torch.tensor([SIZE, SIZE]), training=False)
    for image in range(2):
        overlaps = box_iou(objects[image], boxes[image, : counts[image]])
        assert float(overlaps.amax(1).min()) > 0.999
        assert int(counts[image]) >= 4
        assert float(overlaps.amax(0)[:8].min()) > 0.99


def test_every_level_has_its_own_outputs() -> None:
    """The real head: what an anchor is told depends on its own cell of its own level only."""
    generator = ProposalGenerator(make_config("detectron2"))
    torch.nn.init.normal_(generator.rpn_head.anchor_deltas.weight)
    maps = [level.requires_grad_() for level in make_maps()]
    outlook = generator(maps, SIZE)
    first = 24 * 40 * 6 + 12 * 20 * 6  # of the third level
    anchor = first + (2 * 10 + 7) * 6 + 4  # in cell (2, 7)
    gradients = torch.autograd.grad(outlook.deltas[1, anchor, 2], maps, allow_unused=True, materialize_grads=True)
    assert [bool(gradient.any()) for gradient in gradients] == [False, False, True, False]
    seen = gradients[2].ne(0).any(1)
    assert not seen[0].any() and {tuple(cell) for cell in seen[1].nonzero().tolist()} <= {
        (y, x) for y in (1, 2, 3) for x in (6, 7, 8)
    }
    x1, y1, x2, y2 = outlook.anchors[anchor].tolist()
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((7 * 16, 2 * 16))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_kr_8_proposals_are_those_of_a_loop(convention: Convention, training: bool) -> None:
    """Best of each level, decoded, cut at the image, large enough, not too near a better one; then best of all."""
    limits = {"pre_nms_train": 60, "post_nms_train": 50, "pre_nms_test": 40, "post_nms_test": 25}
    generator = ProposalGenerator(make_config(convention, nms_threshold=0.6, **limits))
    anchors = expected_anchors(convention)
    levels = (24 * 40 * 6, 12 * 20 * 6, 6 * 10 * 6, 3 * 5 * 6)
    logits = torch.stack([torch.randperm(len(anchors)) for _ in range(2)]) / len(anchors)
    outlook = Outlook(logits, torch.randn(2, len(anchors), 4) * 0.4, anchors, levels)
    sizes = [(96, 160), (70, 101)]
    boxes, counts = generator.propose(outlook, torch.tensor(sizes), training=training)
    kind = "train" if training else "test"
    expected, _, numbers = select_proposals(
        outlook.logits,
        outlook.deltas,
        anchors,
        levels,
        sizes,
        pre_nms=limits[f"pre_nms_{kind}"],
        post_nms=limits[f"post_nms_{kind}"],
        iou_threshold=0.6,
    )
    assert torch.equal(counts, numbers) and counts.tolist() == [limits[f"post_nms_{kind}"]] * 2
    torch.testing.assert_close(boxes, expected, rtol=1e-5, atol=1e-4)


def test_kr_8_boxes_are_decoded_and_cut_and_the_small_left_out() -> None:
    generator = ProposalGenerator(make_config("detectron2"))
    anchors = expected_anchors("detectron2")
    logits = torch.full((1, len(anchors)), -20.0)
    chosen = {100: (0.1, -0.2, 0.3, 0.0), 2000: (0.0, 0.0, -20.0, 0.0), 6000: (9.0, 0.0, 0.0, 0.0), 9: (0, 0, 99.0, 0)}
    deltas = torch.zeros(1, len(anchors), 4)
    for rank, (anchor, offsets) in enumerate(chosen.items()):
        logits[0, anchor] = 10.0 - rank
        deltas[0, anchor] = torch.tensor(offsets)
    outlook = Outlook(logits, deltas, anchors, (len(anchors),))
    boxes, counts = generator.propose(outlook, torch.tensor([SIZE]), training=False)
    first = decode(deltas[0, [100]], anchors[[100]], SIZE, CLIP)
    torch.testing.assert_close(boxes[0, :1], first, rtol=1e-5, atol=1e-5)
    kept = boxes[0, : counts[0]]
    assert bool((kept[:, 2:] - kept[:, :2] >= 1e-3).all())
    assert bool((kept >= 0).all()) and bool((kept <= torch.tensor([160.0, 96.0, 160.0, 96.0])).all())
    widest = decode(deltas[0, [9]], anchors[[9]], SIZE, CLIP)  # 62.5 times as wide, not e^99 times
    assert bool(((kept - widest).abs() < 1e-3).all(1).any())


def test_kr_8_levels_do_not_suppress_each_other() -> None:
    generator = ProposalGenerator(make_config("detectron2"))
    anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 20.0, 20.0]])
    logits, deltas, size = torch.tensor([[1.0, 3.0, 2.0]]), torch.zeros(1, 3, 4), torch.tensor([SIZE])
    _, apart = generator.propose(Outlook(logits, deltas, anchors, (1, 1, 1)), size, training=False)
    _, together = generator.propose(Outlook(logits, deltas, anchors, (3,)), size, training=False)
    assert (apart.tolist(), together.tolist()) == ([3], [1])


def test_kr_18_proposals_have_no_gradient() -> None:
    generator = ProposalGenerator(make_config("torchvision"))
    boxes, counts = generator.propose(generator(make_maps(), SIZE), torch.tensor([SIZE, SIZE]), training=True)
    assert not boxes.requires_grad and not counts.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_outputs_in_other_precisions(dtype: torch.dtype) -> None:
    """Double stays double with its anchors; what 16 bits say is read as float32."""
    generator = ProposalGenerator(make_config("detectron2")).to(dtype)
    outlook = generator([level.to(dtype) for level in make_maps()], SIZE)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert {outlook.logits.dtype, outlook.deltas.dtype, outlook.anchors.dtype} == {wanted}
    boxes, counts = generator.propose(outlook, torch.tensor([SIZE, SIZE]), training=True)
    assert boxes.dtype == wanted and bool((counts > 0).all())


def test_kr_4_anchors_are_made_once_per_size() -> None:
    """And lie where the maps are."""
    generator = ProposalGenerator(make_config("torchvision"))
    first, again = (generator(make_maps(images), SIZE).anchors for images in (1, 3))
    assert first is again
    other = generator([level[..., :2, :3] for level in make_maps()], (64, 96)).anchors
    assert other is not first and len(other) == 4 * 6 * 6
    assert first.device == next(generator.parameters()).device
