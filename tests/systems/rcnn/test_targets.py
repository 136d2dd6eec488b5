# SPDX-License-Identifier: Apache-2.0
"""What anchors and proposals are to learn, against loops over images and candidates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.rcnn.batch import Batch, collate
from ldie.systems.rcnn.config import BoxHeadConfig, Convention, ProposalConfig
from ldie.systems.rcnn.regions import Regions
from ldie.systems.rcnn.targets import AnchorTargets, anchor_targets, sample_regions, sampling_seeds
from ldie.systems.rcnn.training import Losses
from reference.anchors import encode_boxes
from reference.overlaps import box_iou
from reference.sampling import sample_labels
from systems.rcnn.batches import CLASSES, KEYPOINTS, make_batch, make_model, make_samples, random_boxes
from torch import Tensor

import ldie_ext

RPN = ProposalConfig(samples=40)
HEAD = BoxHeadConfig(samples=24)
LIMITS = torch.iinfo(torch.int64)
CONVENTIONS: tuple[Convention, ...] = ("torchvision", "detectron2")


def make_anchors() -> Tensor:
    levels = ldie_ext.grid_anchors(
        ((12, 20), (24, 40)), (0.5, 1.0, 2.0), [(12, 16), (6, 8)], [8, 16], convention="detectron2"
    )
    return torch.cat(levels)


def make_proposals(batch: Batch, places: int) -> tuple[Tensor, Tensor]:
    """Boxes [B,P,4] around the objects and elsewhere, and how many of them count."""
    images = len(batch.ids)
    boxes = torch.stack([random_boxes(places, (90, 120)) for _ in range(images)])
    for image in range(images):
        own = batch.boxes[batch.offsets[image] : batch.offsets[image + 1]]
        near = own.repeat(4, 1)[: places // 2]
        boxes[image, : len(near)] = near + torch.rand(len(near), 4) * 6 - 3
    return boxes, torch.randint(0, places + 1, (images,))


def seeds_of(batch: Batch, seed: int = 3, step: int = 11, draw: int = 0) -> Tensor:
    return sampling_seeds(batch.ids, seed, step, draw)


def matches_of(objects: Tensor, candidates: Tensor, high: float, low: float, every_object: bool) -> list[int]:
    """The object of each candidate, -1 for background, -2 for neither, candidate by candidate."""
    overlaps = box_iou(objects, candidates)
    found = []
    for column in overlaps.T:
        if len(objects) == 0 or float(column.max()) < low:
            found.append(-1)
        else:
            found.append(int(column.argmax()) if float(column.max()) >= high else -2)
    for row in overlaps if every_object else ():
        for candidate in (row == row.max()).nonzero().flatten().tolist():
            found[candidate] = int(overlaps[:, candidate].argmax())
    return found


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("objects", [(3, 0, 5), (0, 0), (1,), (9, 2, 4, 1)])
def test_kr_5_anchor_targets_are_those_of_a_loop(objects: Sequence[int], convention: Convention) -> None:
    batch, anchors = make_batch(objects), make_anchors()
    seeds = seeds_of(batch)
    targets = anchor_targets(anchors, batch, RPN, convention, seeds)
    for image in range(len(objects)):
        own = batch.boxes[batch.offsets[image] : batch.offsets[image + 1]]
        matches = torch.tensor([matches_of(own, anchors, RPN.high, RPN.low, True)])
        index, positive, _ = sample_labels(matches, RPN.samples, RPN.positive_fraction, seeds[image : image + 1])
        assert targets.index[image].tolist() == index[0].clamp(min=0).tolist()
        assert targets.used[image].tolist() == (index[0] >= 0).tolist()
        assert targets.positive[image].tolist() == positive[0].tolist()
        for slot in range(RPN.samples):
            expected = torch.zeros(4)
            if positive[0, slot]:
                anchor = int(index[0, slot])
                expected = encode_boxes(own[matches[0, anchor]][None], anchors[anchor][None], (1, 1, 1, 1))[0]
            torch.testing.assert_close(targets.deltas[image, slot], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("objects", [(3, 0, 5), (0, 0), (1,), (9, 2, 4, 1)])
def test_kr_5_regions_are_those_of_a_loop(objects: Sequence[int], convention: Convention) -> None:
    """Proposals that count, and the objects' own boxes; background has the label after the last class."""
    batch = make_batch(objects)
    proposals, counts = make_proposals(batch, 30)
    seeds = seeds_of(batch)
    regions = sample_regions(proposals, counts, batch, HEAD, convention, CLASSES, seeds)
    assert regions.offsets.tolist() == [HEAD.samples * image for image in range(len(objects) + 1)]
    seen = set()
    for image in range(len(objects)):
        begin = int(batch.offsets[image])
        own = batch.boxes[begin : batch.offsets[image + 1]]
        candidates = torch.cat([proposals[image], own])
        matches = torch.tensor([matches_of(own, candidates, HEAD.threshold, HEAD.threshold, False)])
        matches[0, counts[image] : 30] = -2
        index, positive, _ = sample_labels(matches, HEAD.samples, HEAD.positive_fraction, seeds[image : image + 1])
        for slot, candidate in enumerate(index[0].tolist()):
            place = image * HEAD.samples + slot
            assert bool(regions.used[place]) == (candidate >= 0)
            row = begin + int(matches[0, candidate]) if positive[0, slot] else len(batch.boxes)
            assert int(regions.rows[place]) == row
            assert int(regions.labels[place]) == (int(batch.labels[row]) if positive[0, slot] else CLASSES)
            if candidate >= 0:
                assert regions.boxes[place].tolist() == candidates[candidate].tolist()
                seen.add(bool(positive[0, slot]))
    assert seen == ({True, False} if any(objects) else {False})


def test_kr_5_samples_depend_on_seed_step_and_image_alone() -> None:
    """As one batch, in another order, or image by image: the same; another seed, step or draw: others."""
    samples, anchors = make_samples((3, 0, 5, 2)), make_anchors()
    together = collate(samples, 32)
    proposals, counts = make_proposals(together, 30)

    def draw(batch: Batch, order: Sequence[int], **key: int) -> tuple[AnchorTargets, Regions]:
        seeds = seeds_of(batch, **key)
        return (
            anchor_targets(anchors, batch, RPN, "torchvision", seeds),
            sample_regions(proposals[list(order)], counts[list(order)], batch, HEAD, "torchvision", CLASSES, seeds),
        )

    targets, regions = draw(together, range(4))
    again, regions_again = draw(together, range(4))
    assert torch.equal(targets.index, again.index) and torch.equal(regions.boxes, regions_again.boxes)
    for order in ([3, 1, 0, 2], [2], [0, 3]):
        other, other_regions = draw(collate([samples[i] for i in order], 32), order)
        for place, image in enumerate(order):
            assert torch.equal(other.index[place], targets.index[image])
            assert torch.equal(other.deltas[place], targets.deltas[image])
            mine, theirs = (slice(i * HEAD.samples, (i + 1) * HEAD.samples) for i in (place, image))
            assert torch.equal(other_regions.boxes[mine], regions.boxes[theirs])
            assert torch.equal(other_regions.labels[mine], regions.labels[theirs])
    for key in ({"seed": 4}, {"step": 12}, {"draw": 1}):
        other, _ = draw(together, range(4), **key)
        assert not (other.index == targets.index).all(1).any()


def test_kr_5_seeds_differ_between_images_steps_and_draws() -> None:
    """Neighbouring ids and steps, and ids that are far apart, as data sets and long runs have them."""
    ids = torch.cat([torch.arange(1500), torch.arange(500) * 65536 + 9_999_999, torch.arange(500) << 52])
    ids = torch.cat([ids, torch.tensor([LIMITS.max, -1, LIMITS.min])]).unique()
    steps = [*range(150), *(2**exponent for exponent in range(8, 31)), 89_999, 250_001]
    for seed in (0, 1, 123, 2**62):
        seeds = torch.stack([sampling_seeds(ids, seed, step, draw) for step in steps for draw in (0, 1)])
        assert seeds.dtype == torch.int64
        assert len(seeds.unique()) == seeds.numel()


def test_kr_5_seeds_wrap_around_as_64_bits_do() -> None:
    ids = torch.tensor([0, 1, -1, 2**40, LIMITS.max, LIMITS.min])
    expected = []
    for image in ids.tolist():
        key = (7 * 1_000_003 + 123_456 * 4 + 1) % 2**62
        mixed = image * 0x9E3779B97F4A7C15 + key * 0x165667B19E3779F9 % 2**62
        expected.append((mixed * 0xC2B2AE3D27D4EB4F + 2**63) % 2**64 - 2**63)
    assert sampling_seeds(ids, 7, 123_456, 1).tolist() == expected


def test_kr_17_objects_without_area_are_no_targets() -> None:
    """They overlap no anchor, so that all anchors would be equally good for them, with infinite offsets."""
    samples, anchors = make_samples((4, 2, 3)), make_anchors()
    flat, line = samples[0].boxes.clone(), samples[1].boxes.clone()
    flat[1, 2:] = flat[1, :2]
    line[:, 3] = line[:, 1]
    with_flat = collate([replace(samples[0], boxes=flat), replace(samples[1], boxes=line), samples[2]], 32)
    kept = [samples[0].select(torch.tensor([0, 2, 3])), samples[1].select(torch.tensor([], dtype=torch.int64))]
    without = collate([*kept, samples[2]], 32)
    proposals, counts = make_proposals(without, 30)
    for convention in CONVENTIONS:
        found, expected = (anchor_targets(anchors, b, RPN, convention, seeds_of(b)) for b in (with_flat, without))
        for name in ("index", "used", "positive", "deltas"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        assert not found.positive[1].any() and bool(found.positive[0].any())
        every = replace(HEAD, samples=100, positive_fraction=1.0)
        regions = sample_regions(proposals, counts, with_flat, every, convention, CLASSES, seeds_of(with_flat))
        used = regions.boxes[regions.used]
        assert bool((used[:, 2:] > used[:, :2]).all())
        assert not torch.isin(regions.rows[regions.used], torch.tensor([1, 4, 5])).any()
        own = with_flat.boxes[torch.tensor([0, 2, 3, 6, 7, 8])]
        assert all((used == box).all(1).any() for box in own)


@pytest.mark.parametrize("side", [2e-3, 1e-5, 1e-20, 1e-25, 1e-40])
def test_kr_17_objects_that_are_hardly_there(side: float) -> None:
    """From a thousandth of a pixel on they have anchors of their own; below, overlaps underflow and all are equal."""
    batch, anchors = make_batch((1, 2)), make_anchors()
    small = replace(batch, boxes=torch.cat([torch.tensor([[0.0, 0.0, side, side]]), batch.boxes[1:]]))
    targets = anchor_targets(anchors, small, RPN, "torchvision", seeds_of(small))
    assert int(targets.positive[0].sum()) in ((1, 2, 3, 4) if side > 1e-3 else (0,))  # several are equally good
    assert bool(targets.deltas.isfinite().all()) and bool(targets.positive[1].any())
    regions = sample_regions(
        torch.zeros(2, 4, 4), torch.tensor([0, 0]), small, HEAD, "torchvision", CLASSES, seeds_of(small)
    )
    assert regions.offsets.tolist() == [0, HEAD.samples, 2 * HEAD.samples]
    assert bool((regions.rows[regions.used] == 0).any()) == (side > 1e-3)


def test_kr_17_no_object_and_no_proposal_make_no_region() -> None:
    batch = make_batch((0, 0))
    regions = sample_regions(
        torch.zeros(2, 5, 4), torch.tensor([0, 0]), batch, HEAD, "detectron2", CLASSES, seeds_of(batch)
    )
    assert not regions.used.any()
    assert [len(part.boxes) for part in (regions.compact(), regions.compact().foreground(CLASSES, 6))] == [0, 0]
    assert regions.compact().offsets.tolist() == [0, 0, 0]


def test_kr_16_as_many_regions_as_are_there() -> None:
    """512 of an image, or all: at most a quarter of objects."""
    batch = make_batch((5, 1))
    proposals, _ = make_proposals(batch, 700)
    counts = torch.tensor([700, 50])
    regions = sample_regions(
        proposals, counts, batch, BoxHeadConfig(), "torchvision", CLASSES, seeds_of(batch)
    ).compact()
    assert regions.offsets.tolist() == [0, 512, 512 + 51]
    objects = regions.foreground(CLASSES, 128)
    assert all(0 < n <= 128 for n in objects.offsets.diff().tolist())


@pytest.mark.parametrize("objects", [(3, 0, 5), (0, 0), (40, 1)])
def test_regions_of_a_fixed_number_are_the_same_where_in_use(
    objects: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU computes, where nothing may wait for the number of regions."""
    batch = make_batch(objects)
    proposals, counts = make_proposals(batch, 30)
    regions = sample_regions(proposals, counts, batch, HEAD, "torchvision", CLASSES, seeds_of(batch))
    limit = int(HEAD.samples * HEAD.positive_fraction)
    exact = regions.compact()
    exact_objects = exact.foreground(CLASSES, limit)
    monkeypatch.setattr("ldie.systems.rcnn.regions._may_wait", lambda values: False)
    fixed, fixed_objects = regions.compact(), regions.foreground(CLASSES, limit)
    assert (len(fixed.boxes), len(fixed_objects.boxes)) == (24 * len(objects), limit * len(objects))
    waited = regions.compact(exact=True)
    for few, many in (
        (exact, fixed),
        (exact_objects, fixed_objects),
        (exact, waited),
        (exact_objects, waited.foreground(CLASSES, limit, exact=True)),
    ):
        assert bool(few.used.all())
        for name in ("boxes", "labels", "rows"):
            assert torch.equal(getattr(few, name), getattr(many, name)[many.used])
        before = torch.cat([torch.zeros(1, dtype=torch.int64), many.used.cumsum(0)])
        assert torch.equal(few.offsets, before[many.offsets])


def test_masks_of_polygons_and_run_lengths_in_one_batch_are_those_of_each_alone() -> None:
    samples = make_samples((3, 2, 0, 4), runs=(1, 3))
    together = collate(samples, 32)
    assert together.masks is not None
    rows = torch.tensor([0, 3, 8, 4, 9, 2, 5, 9])  # 9: of no object
    boxes = random_boxes(len(rows), (96, 128), least=3)
    drawn = together.masks.in_boxes(boxes, rows, 14)
    assert drawn.shape == (8, 14, 14) and drawn.dtype == torch.bool
    assert not drawn[rows == 9].any()
    first = 0
    for sample in samples:
        own = (rows >= first) & (rows < first + len(sample))
        alone = collate([sample], 32).masks
        assert alone is not None
        assert torch.equal(alone.in_boxes(boxes[own], rows[own] - first, 14), drawn[own])
        first += len(sample)
    assert float(drawn[rows < 9].float().mean()) > 0.05


def test_mask_targets_are_what_polygons_cover() -> None:
    """Seen from its own box, the lower left half is the lower left half, from polygons and from pixels alike."""
    for runs, slack in (((), 0), ((0,), 0.04)):
        batch = make_batch((4,), runs=runs)
        assert batch.masks is not None
        big = (batch.boxes[:, 2:] - batch.boxes[:, :2]).amin(1) > 20
        drawn = batch.masks.in_boxes(batch.boxes, torch.arange(4), 28)[big].float()
        half = torch.ones(28, 28).tril()
        off = (drawn - half).abs() * (1 - torch.eye(28))
        assert int(big.sum()) > 0 and float(off.mean()) <= slack


def test_batches_have_as_many_keypoints_as_objects() -> None:
    batch = make_batch((2, 0, 1))
    assert batch.keypoints is not None and batch.keypoints.shape == (3, KEYPOINTS, 3)
    assert batch.slots.tolist() == [[0, 1], [3, 3], [2, 3]]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_keypoint_targets_are_cells_of_the_region(convention: Convention) -> None:
    """Pixel indices are coordinates for torchvision; detectron2 has the centre of pixel 0 at 0.5."""
    batch = make_batch((3, 0, 2))
    assert batch.keypoints is not None
    rows = torch.tensor([0, 2, 4, 3, 5])  # 5: of no object
    boxes = torch.cat([batch.boxes[rows[:4]] + torch.rand(4, 4) * 6 - 3, torch.zeros(1, 4)])
    used = torch.tensor([True, True, True, False, False])
    regions = Regions(boxes, torch.tensor([0, 2, 2, 5]), torch.zeros(5).long(), rows, used)
    losses = Losses(make_model(convention), TrainingRuntime(torch.device("cpu")))
    targets = losses._keypoint_targets(regions, batch)
    assert targets is not None
    index, valid = targets
    centre = 0.5 if convention == "detectron2" else 0.0
    for region, keypoint in itertools.product(range(5), range(KEYPOINTS)):
        inside = False
        if used[region]:
            x, y, visible = batch.keypoints[rows[region], keypoint].tolist()
            x1, y1, x2, y2 = boxes[region].tolist()
            column, row = ((x + centre - x1) * 56 / (x2 - x1), (y + centre - y1) * 56 / (y2 - y1))
            inside = visible > 0 and 0 <= column <= 56 and 0 <= row <= 56
            if inside:
                assert int(index[region, keypoint]) == min(int(row), 55) * 56 + min(int(column), 55)
        assert bool(valid[region, keypoint]) == inside
    assert 0 < int(valid.sum()) < 12
