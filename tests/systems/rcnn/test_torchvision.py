# SPDX-License-Identifier: Apache-2.0
"""The steps between the networks against torchvision's own: targets, proposals, losses and objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from ldie.systems.rcnn.config import BoxHeadConfig, LossConfig, PostprocessConfig
from ldie.systems.rcnn.losses import box_losses, keypoint_loss, mask_loss, proposal_losses
from ldie.systems.rcnn.postprocess import select_objects
from ldie.systems.rcnn.presets import TINY
from ldie.systems.rcnn.proposals import ProposalGenerator
from ldie.systems.rcnn.regions import Regions
from ldie.systems.rcnn.targets import anchor_targets, sample_regions, sampling_seeds
from systems.rcnn.batches import CLASSES, KEYPOINTS, make_batch, random_boxes
from torch import Tensor, nn

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@pytest.fixture(scope="module")
def detection() -> Iterator[ModuleType]:
    yield pytest.importorskip("torchvision.models.detection")


def region_heads(detection: ModuleType, **options: object) -> nn.Module:
    """Torchvision's RoIHeads without networks."""
    settings = {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100, **options}
    return detection.roi_heads.RoIHeads(
        nn.Identity(), nn.Identity(), nn.Identity(), 0.5, 0.5, 512, 0.25, list(WEIGHTS), **settings
    )


def proposal_network(detection: ModuleType, generator: ProposalGenerator) -> nn.Module:
    """Torchvision's RegionProposalNetwork with our head's networks and its own anchors."""
    options = generator.options
    ratios = (options.anchor_ratios,) * len(options.anchor_sizes)
    counts = {kind: getattr(options, f"{kind}_test") for kind in ("pre_nms", "post_nms")}
    pre, post = ({"training": counts[kind], "testing": counts[kind]} for kind in ("pre_nms", "post_nms"))
    network = detection.rpn.RegionProposalNetwork(
        detection.anchor_utils.AnchorGenerator(options.anchor_sizes, ratios),
        generator.rpn_head,
        options.high,
        options.low,
        100_000,
        0.5,
        pre,
        post,
        options.nms_threshold,
    )
    return network.eval()


def make_generator() -> ProposalGenerator:
    proposals = replace(TINY.model.proposals, anchor_offset=0.0, anchor_ratios=(0.5, 1.0, 2.0))
    generator = ProposalGenerator(replace(TINY.model, convention="torchvision", proposals=proposals)).eval()
    nn.init.normal_(generator.rpn_head.objectness_logits.weight, std=0.1)
    nn.init.normal_(generator.rpn_head.anchor_deltas.weight, std=0.05)
    return generator


def make_maps(size: tuple[int, int], images: int) -> list[Tensor]:
    return [torch.randn(images, 32, size[0] // stride, size[1] // stride) for stride in (4, 8, 16, 32)]


@pytest.mark.parity
@torch.no_grad()
def test_proposals(detection: ModuleType) -> None:
    generator = make_generator()
    network = proposal_network(detection, generator)
    sizes = [(96, 128), (90, 100)]
    images = detection.image_list.ImageList(torch.zeros(2, 3, 96, 128), sizes)
    maps = make_maps((96, 128), 2)
    expected, _ = network(images, dict(enumerate(maps)))
    boxes, counts = generator.propose(generator(maps, (96, 128)), torch.tensor(sizes), training=False)
    assert counts.tolist() == [len(one) for one in expected]
    for image, theirs in enumerate(expected):
        torch.testing.assert_close(boxes[image, : counts[image]], theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parity
@pytest.mark.parametrize("objects", [(3, 0, 5), (1,)])
def test_anchor_labels_and_losses(detection: ModuleType, objects: tuple[int, ...]) -> None:
    """With all anchors as samples, which leaves nothing to chance; torchvision divides by the samples that there are,
    smooth L1 turns at 1 / 9."""
    generator = make_generator()
    network = proposal_network(detection, generator)
    batch, size = make_batch(objects), (96, 128)
    maps = make_maps(size, len(objects))
    outlook = generator(maps, size)
    anchors, images = outlook.anchors, len(objects)
    options = replace(generator.options, samples=len(anchors), positive_fraction=1.0)
    targets = anchor_targets(anchors, batch, options, "torchvision", sampling_seeds(batch.ids, 0, 0, 0))
    own = [{"boxes": part} for part in batch.boxes.split(batch.offsets.diff().tolist())]
    labels, matched = network.assign_targets_to_anchors([anchors] * images, own)
    for image in range(images):
        positive = targets.index[image][targets.positive[image]]
        negative = targets.index[image][targets.used[image] & ~targets.positive[image]]
        assert positive.tolist() == labels[image].eq(1).nonzero().flatten().tolist()
        assert negative.tolist() == labels[image].eq(0).nonzero().flatten().tolist()
    encoded = network.box_coder.encode(matched, [anchors] * images)
    network.fg_bg_sampler.positive_fraction = 1.0
    objectness, box = network.compute_loss(
        outlook.logits.reshape(-1, 1), outlook.deltas.reshape(-1, 4), labels, encoded
    )
    ours = proposal_losses(outlook, targets, LossConfig(proposal_beta=1 / 9))
    share = targets.used.float().mean()
    torch.testing.assert_close(ours["rpn_cls_loss"] / share, objectness)
    torch.testing.assert_close(ours["rpn_loc_loss"] / share, box)


@pytest.mark.parity
def test_region_labels_and_losses(detection: ModuleType) -> None:
    """With all regions as samples; torchvision has background first and counts classes from 1."""
    batch = make_batch((3, 2))
    proposals = torch.stack([random_boxes(40, (90, 100)) for _ in range(2)])
    for image in range(2):
        near = batch.boxes[batch.offsets[image] : batch.offsets[image + 1]].repeat(5, 1)
        proposals[image, : len(near)] = near + torch.rand(len(near), 4) * 6 - 3
    head = BoxHeadConfig(samples=60, positive_fraction=1.0)
    seeds = sampling_seeds(batch.ids, 0, 0, 1)
    counts = torch.tensor([40, 40])
    regions = sample_regions(proposals, counts, batch, head, "torchvision", CLASSES, seeds).compact()
    heads = region_heads(detection)
    heads.fg_bg_sampler.batch_size_per_image, heads.fg_bg_sampler.positive_fraction = 60, 1.0
    pieces = batch.offsets.diff().tolist()
    own = [
        {"boxes": boxes, "labels": labels + 1}
        for boxes, labels in zip(batch.boxes.split(pieces), batch.labels.split(pieces))
    ]
    boxes, _, labels, targets = heads.select_training_samples(list(proposals), own)
    logits = torch.randn(len(regions.boxes), CLASSES + 1)
    deltas = torch.randn(len(regions.boxes), 4 * CLASSES)
    order = []  # torchvision keeps candidates in their order, ours has those of objects first
    for image, theirs in enumerate(boxes):
        mine = regions.boxes[regions.offsets[image] : regions.offsets[image + 1]]
        assert len(mine) == len(theirs)
        same = (theirs[:, None] == mine).all(2)
        order.append(same.int().argmax(1) + regions.offsets[image])
        assert bool(same.any(1).all())
    index = torch.cat(order)
    assert torch.equal(torch.where(regions.labels == CLASSES, 0, regions.labels + 1)[index], torch.cat(labels))
    fitting = torch.zeros(len(regions.boxes), 4)
    fitting[index] = torch.cat(targets)
    theirs_logits, theirs_deltas = logits.roll(1, 1)[index], torch.cat([torch.zeros(len(deltas), 4), deltas], 1)[index]
    expected = detection.roi_heads.fastrcnn_loss(theirs_logits, theirs_deltas, labels, targets)
    count = torch.tensor(float(len(regions.boxes)))
    losses = box_losses(logits, deltas, fitting, regions, LossConfig(box_beta=1 / 9), count)
    torch.testing.assert_close((losses["cls_loss"], losses["loc_loss"]), expected)


@pytest.mark.parity
@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_objects(detection: ModuleType, images: int) -> None:
    places, sizes = 30, [(96, 128), (90, 100), (64, 128), (77, 61)][:images]
    proposals = torch.stack([random_boxes(places, (90, 110)) for _ in range(images)])
    logits, deltas = torch.randn(images * places, CLASSES + 1) * 2, torch.randn(images * places, 4 * CLASSES) * 2
    deltas[::7, 2:4] = -60.0
    for settings in ({}, {"score_thresh": 0.3, "nms_thresh": 0.2, "detections_per_img": 7}):
        theirs_logits, theirs_deltas = logits.roll(1, 1), torch.cat([torch.zeros(len(deltas), 4), deltas], 1)
        heads = region_heads(detection, **settings)
        expected = heads.postprocess_detections(theirs_logits, theirs_deltas, list(proposals), sizes)
        config = PostprocessConfig(
            score_threshold=heads.score_thresh, nms_threshold=heads.nms_thresh, detections=heads.detections_per_img
        )
        found = select_objects(
            logits, deltas, proposals, torch.full((images,), places), torch.tensor(sizes), BoxHeadConfig(), config
        )
        assert found.offsets.diff().tolist() == [len(one) for one in expected[0]]
        assert torch.equal(found.labels + 1, torch.cat(expected[2]))
        torch.testing.assert_close(found.scores, torch.cat(expected[1]))
        torch.testing.assert_close(found.boxes, torch.cat(expected[0]), rtol=1e-5, atol=1e-3)


@pytest.mark.parity
def test_mask_and_keypoint_losses(detection: ModuleType) -> None:
    batch = make_batch((3, 2))
    assert batch.keypoints is not None
    rows, count = torch.arange(5), torch.tensor(5.0)
    regions = Regions(batch.boxes, batch.offsets, batch.labels, rows, torch.ones(5).bool())
    maps = torch.randn(5, KEYPOINTS, 56, 56)
    expected = detection.roi_heads.keypointrcnn_loss(maps, [batch.boxes], [batch.keypoints], [rows])
    index, valid = detection.roi_heads.keypoints_to_heatmap(batch.keypoints, batch.boxes, 56)
    torch.testing.assert_close(keypoint_loss(maps, index, valid.bool(), valid.sum()), expected)
    masks = torch.rand(5, 28, 28) < 0.5
    logits = torch.randn(5, CLASSES, 28, 28)
    own = logits[rows, batch.labels]
    wanted = nn.functional.binary_cross_entropy_with_logits(own, masks.float())
    torch.testing.assert_close(mask_loss(logits, masks, regions, count), wanted)
    theirs = torch.cat([torch.zeros(5, 1, 28, 28), logits], 1)
    pixels = torch.zeros(5, 96, 128)
    pixels[:, 10:70, 20:100] = 1.0  # all that its boxes show
    boxes = torch.tensor([[30.0, 20.0, 90.0, 60.0]]).expand(5, 4)
    whole = detection.roi_heads.maskrcnn_loss(theirs, [boxes], [pixels], [batch.labels + 1], [rows])
    filled = torch.ones(5, 28, 28, dtype=torch.bool)
    torch.testing.assert_close(mask_loss(logits, filled, regions, count), whole)
