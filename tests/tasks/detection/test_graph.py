# SPDX-License-Identifier: Apache-2.0
"""Detection as a graph: resizing bit for bit as Pillow, and what counts as the same detections."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldie.errors import ConfigError, ExportError
from ldie.tasks.detection import DetectionModel, Prediction
from ldie.tasks.detection.agreement import agreement
from ldie.tasks.detection.geometry import resize_image
from ldie.tasks.detection.graph import DetectionGraph, FixedResize, in_slots

from ldie_ext import rle_encode


def test_resizing_is_pillows_bit_for_bit():
    rng = np.random.default_rng(0)
    sizes = [tuple(int(side) for side in rng.integers(1, 90, 4)) for _ in range(20)]
    sizes += [(48, 12, 21, 3), (200, 150, 128, 96), (7, 7, 7, 7), (1, 1, 1, 1)]  # the first: rows before columns
    for height, width, *target in sizes:
        images = torch.from_numpy(rng.integers(0, 256, (2, 3, height, width), dtype=np.uint8))
        expected = torch.stack([resize_image(image, tuple(target)) for image in images])
        assert torch.equal(FixedResize((height, width), tuple(target))(images), expected), (height, width, target)


def test_a_pillow_that_resizes_in_another_way_is_refused(monkeypatch):
    from ldie.tasks.detection import graph

    monkeypatch.setattr(graph, "resize_image", lambda image, size: resize_image(image, size) ^ 1)
    with pytest.raises(ExportError, match="resizes images in a way that is not known"):
        FixedResize((8, 8), (4, 4))


def test_a_model_without_a_graph_says_so():
    class Other(DetectionModel):
        @classmethod
        def from_config(cls, config, facts):
            return cls()

        def predict(self, inputs):
            return []

    with pytest.raises(ConfigError, match=r"Other cannot be exported yet; ldie predict and ldie\.load run it"):
        Other().exportable(None, 1)


def prediction(scores: list[float], labels: list[int] | None = None) -> Prediction:
    boxes = torch.arange(4.0 * len(scores)).view(-1, 4) * 10
    labels = [0] * len(scores) if labels is None else labels
    return Prediction(boxes, torch.tensor(scores), torch.tensor(labels), None, None, (99, 99))


class Echo(DetectionGraph):
    """A graph that need not run: only what it gives is read."""

    def forward(self, images):
        raise NotImplementedError


def compare(expected: Prediction, found: Prediction, slots: int = 6, floor: float = 0.0) -> str:
    filled = in_slots((found.boxes, found.scores, found.labels), slots)
    return agreement([expected], Echo((99, 99), slots).read([field[None] for field in filled]), slots, floor)


def test_rounding_and_its_exchanges_are_the_same():
    expected = prediction([0.9, 0.50001, 0.5, 0.1], [0, 1, 2, 0])
    found = prediction([0.9, 0.50001, 0.5, 0.1], [0, 2, 1, 0])
    found.boxes = expected.boxes[[0, 2, 1, 3]] + 0.05
    assert compare(expected, found) == "4 of 4 detections the same, boxes within 0.05 px, scores within 1e-05"
    assert compare(prediction([]), prediction([])).startswith("0 of 0")


def test_what_is_no_better_than_the_weakest_may_be_another():
    expected, found = prediction([0.9, 0.1, 0.1]), prediction([0.9, 0.1, 0.1])
    found.boxes = found.boxes + torch.tensor([[0.0], [0.0], [7.0]])
    assert compare(expected, found, slots=3).startswith("2 of 3 detections the same")
    with pytest.raises(ExportError, match=r"the file does not find label 0, score 0\.100"):  # nothing was cut off
        compare(expected, found, slots=4)


def test_what_just_reaches_the_threshold_may_be_lost():
    expected, found = prediction([0.9, 0.30005]), prediction([0.9])
    assert compare(expected, found, floor=0.3).startswith("1 of 2 detections the same")
    with pytest.raises(ExportError, match=r"the file does not find label 0, score 0\.300"):
        compare(expected, found, floor=0.2)


def test_an_object_of_the_file_alone_is_named():
    with pytest.raises(ExportError, match=r"only the file finds label 0, score 0\.900"):
        compare(prediction([]), prediction([0.9]))


def test_masks_of_only_one_are_named():
    bare = with_details()
    bare.masks = None
    with pytest.raises(ExportError, match="only one of them has masks"):
        agreement([with_details()], [bare], 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.boxes[0].add_(0.2), "the file does not find label 0, score 0.900, box 0.0, 10.0, 20.0"),
        (lambda found: found.scores[0].sub_(0.01), "the file does not find label 0, score 0.900"),
        (lambda found: found.labels[0].fill_(1), "the file does not find label 0, score 0.900"),
        (lambda found: vars(found).update(vars(prediction([0.9, 0.6, 0.1]))), "only the file finds label 0, score 0.6"),
        (lambda found: vars(found).update(vars(prediction([]))), "the file does not find label 0, score 0.900"),
    ],
)
def test_another_detection_is_named(change, message):
    expected, found = prediction([0.9, 0.1]), prediction([0.9, 0.1])
    change(found)
    if len(found.boxes) == 3:
        expected.boxes[1] = found.boxes[2]
    with pytest.raises(ExportError, match=message):
        compare(expected, found)


def test_nothing_the_same_is_not_the_same():
    found = prediction([0.1, 0.1])
    found.boxes += 50
    with pytest.raises(ExportError, match="none of its detections is the model's"):
        compare(prediction([0.1, 0.1]), found, slots=2)


def with_details(moved: float = 0.0, wider: int = 0) -> Prediction:
    """Two objects with masks of 20 x 30 and 10 pixels more for each of ``wider``, and three keypoints each."""
    masks = torch.zeros(2, 99, 99, dtype=torch.bool)
    masks[:, 10 : 40 + wider // 3, 20:40] = True
    masks[1, 40, 20 : 20 + wider % 3 * 2] = True
    found = prediction([0.9, 0.8])
    found.masks, found.keypoints = rle_encode(masks), torch.arange(18.0).view(2, 3, 3)
    found.keypoints[1, 2, 0] += moved
    return found


def test_masks_and_keypoints_are_compared():
    near = agreement([with_details()], [with_details(moved=0.0625, wider=2)], 6)
    said = "boxes within 0 px, scores within 0, masks within 4 pixels, keypoints within 0.06 px"
    assert near == f"2 of 2 detections the same, {said}"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (with_details(moved=0.2), "the file has other keypoints for label 0, score 0.800, box 40.0"),
        (with_details(moved=float("nan")), "the file has other keypoints for label 0, score 0.800"),
        (with_details(wider=3), "the file has another mask for label 0, score 0.900, box 0.0"),
    ],
)
def test_another_mask_or_keypoint_is_named(found, message):
    with pytest.raises(ExportError, match=message):
        agreement([with_details()], [found], 6)
