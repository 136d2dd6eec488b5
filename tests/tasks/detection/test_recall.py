# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
import torch
from ldie.tasks.detection.recall import LIMITS, SIZES, proposal_recall
from tasks.detection.scenes import HEIGHT, WIDTH, found, item, proposing, truth_of

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
OBJECT = (10, 20, 110, 70)
NOWHERE = (200, 150, 250, 190)


def part(share, box=OBJECT):
    """A box of which ``share`` lies in another, so that this is their IoU."""
    x1, y1, x2, y2 = box
    return x1, y1, x1 + share * (x2 - x1), y2


def iou(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return shared / area if area else 0.0


def slow_recall(images, limit, least=0, greatest=float("inf")):
    """The definition, one pair after the other; ``images``: objects with their areas, and proposals."""
    best = []
    for objects, proposals in images:
        objects = [box for box, area in objects if least <= area <= greatest]
        table = {(o, p): iou(a, b) for o, a in enumerate(objects) for p, b in enumerate(proposals[:limit])}
        got = [0.0] * len(objects)
        while table:
            taken = max(table, key=lambda pair: (table[pair], -pair[0], -pair[1]))
            got[taken[0]] = table[taken]
            table = {pair: v for pair, v in table.items() if pair[0] != taken[0] and pair[1] != taken[1]}
        best += got
    return np.mean([[value >= threshold for value in best] for threshold in THRESHOLDS]) if best else -1


def random_image(rng):
    """Objects, some in one place, and proposals around them, some twice; corners on a grid, so that many are equal."""
    corners = rng.integers(0, [WIDTH - 140, HEIGHT - 110], (int(rng.integers(0, 7)), 2))
    objects = np.concatenate([corners, corners + rng.integers(1, 12, corners.shape) * 10], axis=1).astype(float)
    objects = np.concatenate([objects, objects[:1] + 2])
    near = objects[rng.integers(0, len(objects), 130)] if len(objects) else np.empty((0, 4))
    proposals = near + rng.integers(-12, 13, near.shape)
    return objects, np.concatenate([proposals, proposals[:20]])


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_that_of_taking_one_pair_after_the_other(seed):
    rng = np.random.default_rng(seed)
    items, predictions, images = [], {}, []
    for image in range(1, 9):
        objects, proposals = random_image(rng)
        areas = [0.7 * (x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in objects]  # of masks, as in COCO
        items += [item(box, int(rng.integers(1, 3)), area=area, image=image) for box, area in zip(objects, areas)]
        predictions[image] = proposing(*proposals)
        images.append((list(zip(objects, areas)), proposals))
    recall = proposal_recall(truth_of(*items, images=predictions), predictions)
    expected = {f"AR{limit}": slow_recall(images, limit) for limit in LIMITS}
    expected |= {f"AR{letter}": slow_recall(images, 100, *areas) for letter, areas in SIZES.items()}
    assert recall == pytest.approx(expected, abs=1e-12, rel=0)
    assert 0 < recall["AR50"] < recall["AR100"] < recall["AR1000"] < 1
    assert len({recall[f"AR{letter}"] for letter in SIZES} | {recall["AR100"]}) == 4


@pytest.mark.parametrize("share", [0.4, 0.49, 0.5, 0.6, 0.75, 0.9, 0.94, 0.95, 1.0])
def test_recall_is_the_part_of_the_thresholds_that_the_overlap_reaches(share):
    recall = proposal_recall(truth_of(item(OBJECT)), {1: proposing(NOWHERE, part(share))})
    assert recall["AR100"] == sum(share >= threshold for threshold in THRESHOLDS) / 10


def test_only_the_best_proposals_count():
    def recall(before):
        return proposal_recall(truth_of(item(OBJECT)), {1: proposing(*[NOWHERE] * before, OBJECT)})

    assert [[recall(before)[f"AR{limit}"] for limit in LIMITS] for before in (49, 50, 99, 100, 999, 1000)] == [
        [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0],
    ]  # fmt: skip


def test_a_proposal_finds_one_object_only():
    twins = truth_of(item(OBJECT), item(part(0.9)))
    assert proposal_recall(twins, {1: proposing(OBJECT)})["AR100"] == 0.5
    assert proposal_recall(twins, {1: proposing(OBJECT, OBJECT)})["AR100"] == (1 + 0.9) / 2


def test_the_greatest_overlap_is_taken_first_even_where_another_choice_finds_more():
    """The middle one overlaps both objects, the left one only the first: it gets nothing when the middle took it."""
    first, second = (0, 0, 100, 100), (60, 0, 160, 100)
    middle, left = (20, 0, 120, 100), (0, 0, 60, 100)
    assert iou(first, middle) > iou(first, left) > 0.5 > iou(second, middle) > iou(second, left)
    recall = proposal_recall(truth_of(item(first), item(second)), {1: proposing(left, middle)})
    assert recall["AR100"] == sum(iou(first, middle) >= threshold for threshold in THRESHOLDS) / 20


def test_classes_play_no_part_and_crowds_are_no_objects():
    crowd = item((150, 100, 290, 190), crowd=True)
    truth = truth_of(item(OBJECT, category=2), crowd)
    assert proposal_recall(truth, {1: proposing(OBJECT)})["AR100"] == 1
    assert set(proposal_recall(truth_of(crowd), {1: proposing(OBJECT)}).values()) == {-1}


def test_objects_on_the_border_of_two_sizes_are_of_both():
    objects = [item(OBJECT, area=32**2), item(NOWHERE, area=96**2 + 1)]
    recall = proposal_recall(truth_of(*objects), {1: proposing(OBJECT)})
    assert {name: recall[name] for name in ("ARs", "ARm", "ARl", "AR100")} == {
        "ARs": 1, "ARm": 1, "ARl": 0, "AR100": 0.5,
    }  # fmt: skip


def test_images_without_proposals_or_without_objects():
    truth = truth_of(item(OBJECT), item(OBJECT, image=3), images=(1, 2, 3))
    predictions = {1: proposing(OBJECT), 2: proposing(OBJECT, NOWHERE), 3: proposing()}
    assert proposal_recall(truth, predictions)["AR50"] == 0.5
    assert proposal_recall(truth, {2: proposing(OBJECT)})["AR50"] == -1
    assert proposal_recall(truth, {})["AR50"] == -1


def test_images_that_the_truth_does_not_list_do_not_count():
    assert proposal_recall(truth_of(item(OBJECT)), {1: proposing(OBJECT), 9: found()})["AR50"] == 1


def test_proposals_that_are_no_boxes_find_nothing():
    nan, inf = float("nan"), float("inf")
    broken = [(nan, 20, 110, 70), (-inf, -inf, inf, inf), (110, 70, 10, 20), (50, 50, 50, 50)]
    truth = truth_of(item(OBJECT), item((50, 50, 50, 50)))
    assert proposal_recall(truth, {1: proposing(*broken)})["AR100"] == 0
    assert proposal_recall(truth, {1: proposing(*broken, OBJECT)})["AR100"] == 0.5


def test_what_cannot_be_compared_is_refused():
    truth = truth_of(item(OBJECT), images=(1, 2))
    with pytest.raises(ValueError, match="image 2 has no proposals, but others do"):
        proposal_recall(truth, {1: proposing(OBJECT), 2: found()})
    other = dataclasses.replace(proposing(OBJECT), size=(WIDTH, HEIGHT))
    with pytest.raises(ValueError, match=r"image 1 is of size \(200, 300\), but its prediction is for .*\(300, 200\)"):
        proposal_recall(truth, {1: other})


def test_no_more_than_the_best_thousand_are_looked_at():
    recall = proposal_recall(truth_of(item(OBJECT)), {1: found(proposals=torch.full((100_000, 4), float("nan")))})
    assert recall["AR1000"] == 0
