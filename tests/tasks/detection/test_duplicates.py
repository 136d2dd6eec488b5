# SPDX-License-Identifier: Apache-2.0
import pytest
from ldie.tasks.detection.duplicates import duplicate_rate
from tasks.detection.scenes import found, item, truth_of

OBJECT, OTHER = (10, 20, 110, 70), (150, 20, 250, 70)
NEAR = (12, 20, 112, 70)
CATEGORIES = [1, 2]


def rate(truth, *predictions):
    return duplicate_rate(truth, dict(enumerate(predictions, start=1)), CATEGORIES)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([OBJECT], 0),
        ([OBJECT, NEAR], 1 / 2),
        ([OBJECT, NEAR, NEAR], 2 / 3),
        ([OBJECT, NEAR, OTHER], 1 / 3),
        ([OBJECT, NEAR, OTHER, OTHER], 2 / 4),
        ([(200, 120, 290, 190)] * 3, 0),  # false alarms are wrong in another way
        ([OBJECT, (10, 20, 59, 70)], 0),  # overlaps by less than half
        ([OBJECT, (10, 20, 60, 70)], 1 / 2),
        ([], -1),
    ],
)
def test_all_detections_of_an_object_but_one_are_duplicates(boxes, expected):
    assert rate(truth_of(item(OBJECT), item(OTHER)), found(boxes)) == pytest.approx(expected)


def test_detections_of_another_class_are_none():
    truth = truth_of(item(OBJECT), item(OTHER, category=2))
    assert rate(truth, found([OBJECT, NEAR], labels=[0, 1])) == 0
    assert rate(truth, found([OTHER, OTHER, OBJECT], labels=[1, 1, 1])) == pytest.approx(1 / 3)


def test_neighbours_are_told_apart_by_the_greatest_overlap():
    twins = truth_of(item((0, 0, 100, 100)), item((20, 0, 120, 100)))
    assert rate(twins, found([(1, 0, 101, 100), (18, 0, 118, 100)])) == 0
    assert rate(twins, found([(1, 0, 101, 100), (2, 0, 102, 100)])) == 0.5


def test_only_confident_detections_count():
    truth = truth_of(item(OBJECT))
    assert rate(truth, found([OBJECT, NEAR], scores=[0.9, 0.49])) == 0
    assert rate(truth, found([OBJECT, NEAR], scores=[0.9, 0.5])) == 0.5
    assert rate(truth, found([OBJECT, NEAR], scores=[0.49, float("nan")])) == -1


def test_crowds_are_no_objects():
    truth = truth_of(item(OBJECT, crowd=True), item(OTHER))
    assert rate(truth, found([OBJECT, NEAR, OTHER, OTHER])) == pytest.approx(1 / 4)
    assert rate(truth_of(item(OBJECT, crowd=True)), found([OBJECT, NEAR])) == 0


def test_images_are_counted_together_and_do_not_mix():
    truth = truth_of(item(OBJECT), item(OBJECT, image=2), images=(1, 2, 3))
    assert rate(truth, found([OBJECT]), found([OBJECT, NEAR]), found([OBJECT])) == pytest.approx(1 / 4)
    assert rate(truth, found(), found(), found()) == -1


def test_images_that_the_truth_does_not_list_do_not_count():
    truth = truth_of(item(OBJECT))
    assert duplicate_rate(truth, {1: found([OBJECT]), 9: found([OBJECT, OBJECT])}, CATEGORIES) == 0
    assert duplicate_rate(truth, {9: found([OBJECT])}, CATEGORIES) == -1


def test_boxes_that_are_no_numbers_are_false_alarms():
    broken = [[float("nan")] * 4, [-float("inf"), 0, float("inf"), 9]]
    assert rate(truth_of(item(OBJECT)), found([*broken, OBJECT, *broken])) == 0
