# SPDX-License-Identifier: Apache-2.0
"""From the heads' outputs to objects, against a loop over images, regions and classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from ldie.systems.rcnn.config import BoxHeadConfig, Convention, PostprocessConfig
from ldie.systems.rcnn.postprocess import Found, image_keypoints, own_class, select_objects
from reference.anchors import decode_boxes
from reference.suppression import nms
from systems.rcnn.batches import random_boxes
from torch import Tensor
from torch.nn import functional

CONVENTIONS: tuple[Convention, ...] = ("torchvision", "detectron2")
HEAD = BoxHeadConfig()
CLIP = torch.tensor(1000 / 16).log().item()


@dataclass(frozen=True)
class Outputs:
    """Of the heads, for B images with P places for proposals each."""

    logits: Tensor
    deltas: Tensor
    proposals: Tensor
    counts: Tensor
    sizes: Tensor
    head: BoxHeadConfig = HEAD

    def select(self, config: PostprocessConfig) -> Found:
        return select_objects(self.logits, self.deltas, self.proposals, self.counts, self.sizes, self.head, config)

    def image(self, index: int) -> Outputs:
        """One image's alone."""
        places = self.proposals.shape[1]
        own, one = slice(index * places, (index + 1) * places), slice(index, index + 1)
        return Outputs(self.logits[own], self.deltas[own], self.proposals[one], self.counts[one], self.sizes[one])


def make_outputs(images: int, classes: int = 3, places: int = 20, agnostic: bool = False) -> Outputs:
    """Regions of all sizes, some of which shrink to nothing, and places behind the last one with NaN."""
    sizes = torch.stack([torch.randint(40, 100, (images,)), torch.randint(40, 120, (images,))], 1)
    proposals = torch.stack([random_boxes(places, (100, 120)) for _ in range(images)])
    deltas = torch.randn(images * places, 4 if agnostic else 4 * classes) * 2
    deltas[::7, 2:4] = -60.0  # exp(-12) of a proposal's size
    counts = torch.randint(places // 2, places + 1, (images,))
    unused = (torch.arange(places) >= counts[:, None]).flatten()
    logits = torch.randn(images * places, classes + 1) * 2
    return Outputs(logits.masked_fill(unused[:, None], float("nan")), deltas, proposals, counts, sizes, BoxHeadConfig())


def select_in_loops(outputs: Outputs, config: PostprocessConfig) -> list[list[tuple[float, int, list[float]]]]:
    """(score, label, box) of each image's objects, best first, as torchvision's ``postprocess_detections``."""
    classes, places = outputs.logits.shape[1] - 1, outputs.proposals.shape[1]
    found = []
    for image in range(len(outputs.proposals)):
        height, width = outputs.sizes[image].tolist()
        best: list[tuple[float, int, list[float]]] = []
        for label in range(classes):
            boxes, scores = [], []
            for place in range(int(outputs.counts[image])):
                row = image * places + place
                score = outputs.logits[row].softmax(0)[label]
                each = outputs.deltas[row].unflatten(0, (-1, 4))
                offsets = each[label if len(each) > 1 else 0][None]
                proposal = outputs.proposals[image, place][None]
                box = decode_boxes(offsets, proposal, outputs.head.weights, CLIP, (height, width))[0]
                if score > config.score_threshold and bool((box[2:] - box[:2] >= 1e-2).all()):
                    boxes.append(box)
                    scores.append(score)
            if boxes:
                kept = nms(torch.stack(boxes), torch.stack(scores), config.nms_threshold)
                best += [(float(scores[i]), label, boxes[i].tolist()) for i in kept.tolist()]
        found.append(sorted(best, key=lambda one: -one[0])[: config.detections])
    return found


def assert_found(found: Found, expected: list[list[tuple[float, int, list[float]]]]) -> None:
    assert found.offsets.diff().tolist() == [len(image) for image in expected]
    objects = [one for image in expected for one in image]
    assert found.labels.tolist() == [label for _, label, _ in objects]
    torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in objects]))
    boxes = torch.tensor([box for _, _, box in objects]).reshape(-1, 4)
    torch.testing.assert_close(found.boxes, boxes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_objects_are_those_of_a_loop(images: int, agnostic: bool) -> None:
    outputs = make_outputs(images, agnostic=agnostic)
    for config in (
        PostprocessConfig(),
        PostprocessConfig(score_threshold=0.4, nms_threshold=0.2, detections=7),
        PostprocessConfig(score_threshold=0.0, nms_threshold=1.0, detections=3),
    ):
        assert_found(outputs.select(config), select_in_loops(outputs, config))


def test_objects_of_an_image_do_not_depend_on_its_batch() -> None:
    outputs, config = make_outputs(4), PostprocessConfig(detections=10)
    together = outputs.select(config)
    for image in range(4):
        alone = outputs.image(image).select(config)
        own = slice(*together.offsets[image : image + 2].tolist())
        assert alone.offsets.tolist() == [0, own.stop - own.start]
        for one, all_of_them in zip(alone[:3], together[:3]):
            assert torch.equal(one, all_of_them[own])


def test_thresholds_are_strict_and_ties_keep_the_order() -> None:
    """A score on the threshold is no object; a box of exactly the least size is; an overlap on the threshold stays."""
    proposals = torch.tensor([[[0.0, 0, 8, 8], [0, 4, 8, 12], [40, 0, 48, 8], [0, 40, 8, 48], [20, 20, 28, 28]]])
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [-9.0, 9.0]])  # background last
    outputs = Outputs(logits, torch.zeros(5, 4), proposals, torch.tensor([5]), torch.tensor([[60, 60]]), HEAD)
    third = 1 / 3  # overlap of the first two boxes, in float32 rounded up
    ties = outputs.select(PostprocessConfig(nms_threshold=0.34))
    assert torch.equal(ties.boxes, proposals[0, :4]) and ties.scores.tolist() == [0.5] * 4
    assert len(outputs.select(PostprocessConfig(nms_threshold=third - 1e-3)).boxes) == 3
    assert len(outputs.select(PostprocessConfig(score_threshold=0.5)).boxes) == 0
    assert torch.equal(outputs.select(PostprocessConfig(detections=2, nms_threshold=0.34)).boxes, proposals[0, :2])
    thin = replace(outputs, proposals=torch.tensor([[[0, 0, 0.0100001, 8], [9, 9, 9.0098, 20], [3, 3, 3, 3]]]))
    thin = replace(thin, logits=logits[:3], deltas=torch.zeros(3, 4), counts=torch.tensor([3]))
    assert len(thin.select(PostprocessConfig()).boxes) == 1


def test_classes_and_images_do_not_suppress_each_other() -> None:
    box = torch.tensor([4.0, 4.0, 30.0, 30.0])
    outputs = Outputs(
        torch.tensor([[3.0, 3.0, 0.0]]).expand(4, 3),
        torch.zeros(4, 8),
        box.expand(2, 2, 4),
        torch.tensor([2, 2]),
        torch.tensor([[40, 40], [40, 40]]),
    )
    found = outputs.select(PostprocessConfig())
    assert found.offsets.tolist() == [0, 2, 4] and found.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("images", [1, 3])
def test_kr_17_no_object_is_no_object(images: int) -> None:
    outputs = make_outputs(images)
    nothing = replace(outputs, counts=torch.zeros(images, dtype=torch.int64))
    unsure = replace(outputs, logits=torch.tensor([0.0, 0, 0, 30]).expand(len(outputs.logits), 4))
    broken = replace(outputs, deltas=torch.full_like(outputs.deltas, float("nan")))
    for empty in (nothing, unsure, broken):
        found = empty.select(PostprocessConfig())
        assert found.offsets.tolist() == [0] * (images + 1)
        assert [tuple(values.shape) for values in found[:3]] == [(0, 4), (0,), (0,)]
        assert found.labels.dtype == torch.int64
    one = replace(outputs, counts=torch.tensor([0] * (images - 1) + [4]))
    assert one.select(PostprocessConfig(score_threshold=0.0)).offsets[:-1].tolist() == [0] * images


def test_masks_are_those_of_the_own_class() -> None:
    logits, labels = torch.randn(6, 3, 4, 4), torch.tensor([2, 0, 1, 1, 0, 2])
    chosen = own_class(logits, labels)
    for row, label in enumerate(labels.tolist()):
        torch.testing.assert_close(chosen[row], 1 / (1 + torch.exp(-logits[row, label])))
    assert own_class(logits[:0], labels[:0]).shape == (0, 4, 4)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_keypoints_are_pixel_indices_of_the_file(convention: Convention) -> None:
    """The centre of the cell with the greatest logit, on a map that is resized to the box; half a pixel less where
    indices stand for centres."""
    boxes = torch.tensor([[10.0, 20.0, 66.0, 76.0], [0.0, 0.0, 28.0, 56.0]])
    cells = torch.tensor([[[3, 50], [20, 0]], [[55, 55], [7, 30]]])  # row, column
    heatmaps = torch.full((2, 2, 56, 56), -4.0)
    for row, keypoint in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = cells[row, keypoint].tolist()
        heatmaps[row, keypoint, y, x] = 9.0
    ratio = torch.tensor([2.0, 0.5])
    found = image_keypoints(heatmaps, boxes, ratio, PostprocessConfig(), convention)
    extent = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centre = boxes[:, None, :2] + (cells.flip(2) + 0.5) / 56 * extent
    expected = centre * ratio - (0.5 if convention == "detectron2" else 0.0)
    assert float((found[..., :2] - expected).abs().max()) <= 1.0  # a pixel of the box is two cells of the second map
    torch.testing.assert_close(found[0, :, :2], expected[0])
    if convention == "torchvision":
        assert bool((found[0, :, 2] > 8).all())
    else:
        likely = functional.softmax(heatmaps.flatten(2), 2).amax(2)
        torch.testing.assert_close(found[0, :, 2], likely[0], rtol=1e-3, atol=1e-3)
    finer = image_keypoints(heatmaps, boxes, ratio, PostprocessConfig(keypoint_scale=4), convention)
    assert float(((finer[..., :2] - expected) / ratio).abs().max()) <= 0.5
    assert image_keypoints(heatmaps[:0], boxes[:0], ratio, PostprocessConfig(), "detectron2").shape == (0, 2, 3)
