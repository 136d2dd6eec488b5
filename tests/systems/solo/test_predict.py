# SPDX-License-Identifier: Apache-2.0
"""From the head's outputs to objects: each step against its plain form, and whole images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
import torch
from ldie.systems.solo import SOLOConfig, model
from ldie.systems.solo.head import Outlook
from ldie.systems.solo.postprocess import Frame, candidates, find_objects
from ldie.tasks.detection import Prediction
from systems.rcnn.helpers import two_images
from systems.solo.helpers import CLASSES, SMALL, batch_of, small_config, small_model, small_recipe
from torch import Tensor
from torch.nn import functional

import ldie_ext

LOOSE = {"score_thr": 0.02, "update_threshold": 0.0}


def resized(maps: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return functional.interpolate(maps[None], list(size), mode="bilinear", align_corners=align_corners)[0]


def plain_scores(logits: Tensor, config: SOLOConfig) -> Tensor:
    """[C,S,S] of an image's level, 0 where a neighbour has more."""
    softmax = config.model.head.category == "softmax"
    scores = logits.softmax(0)[:-1] if softmax else logits.sigmoid()
    kept = scores.clone()
    near = {0: [(0, 0)], 2: [(0, 0), (0, -1), (-1, 0), (-1, -1)]}.get(
        config.test.points_nms, [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    )
    side = scores.shape[1]
    for label in range(len(scores)):
        for y in range(side):
            for x in range(side):
                around = [scores[label, y + dy, x + dx] for dy, dx in near if 0 <= y + dy < side and 0 <= x + dx < side]
                if max(around) > scores[label, y, x]:
                    kept[label, y, x] = 0
    return kept


def plain_objects(outlook: Outlook, net: Any, frame: Frame, config: SOLOConfig) -> list[tuple[float, int, Tensor]]:
    """(score, label, mask) of an image, best first: every mask drawn in full, pairs compared in loops."""
    head, test = config.model.head, config.test
    finest, corners = min(head.strides) // 2, head.align_corners
    found = []
    for level, logits in enumerate(outlook.categories):
        every = functional.conv2d(outlook.features[level], *_last(net, level))[0]
        twice = [2 * side // head.strides[level] for side in frame.padded]
        if head.sigmoid_after_up:
            every = resized(every, twice, corners).sigmoid()
        else:
            every = resized(every.sigmoid(), twice, corners)
        every = resized(every, [side // finest for side in frame.padded], corners)
        scores = plain_scores(logits[0], config)
        for label, y, x in (scores > test.score_thr).nonzero().tolist():
            found.append((scores[label, y, x].item(), label, every[y * scores.shape[1] + x], head.strides[level]))
    found = sorted(found, key=lambda each: -each[0])[: test.nms_pre]
    kept = []
    for score, label, map_, stride in found:
        mask = map_ > test.mask_threshold
        if mask.sum() <= (stride if test.min_area == "stride" else 0):
            continue
        kept.append((score * (map_[mask].mean().item() if test.maskness else 1), label, map_, mask))
    kept = plain_suppression(sorted(kept, key=lambda each: -each[0]), config)
    result = []
    for score, label, map_, _ in kept[: test.detections]:
        full = resized(map_[None], frame.padded, corners)[:, : frame.image[0], : frame.image[1]]
        pixels = resized(full, frame.file, corners)[0] > test.mask_threshold
        if pixels.sum() >= test.min_pixels:
            result.append((score, label, pixels))
    return result


def plain_suppression(kept: list, config: SOLOConfig) -> list:
    """Matrix NMS by its formula, or one by one."""
    test = config.test
    iou = [[_iou(a[3], b[3]) if a[1] == b[1] else 0.0 for b in kept] for a in kept]
    if test.nms == "greedy":
        chosen: list[int] = []
        for j in range(len(kept)):
            if all(iou[i][j] <= test.nms_threshold for i in chosen):
                chosen.append(j)
        return [kept[j] for j in chosen if kept[j][0] >= test.update_threshold]
    decayed = []
    for j, (score, label, map_, mask) in enumerate(kept):
        factor = 1.0
        for i in range(j):
            most = max((iou[k][i] for k in range(i)), default=0.0)
            if kept[i][1] == label:
                if test.kernel == "gaussian":
                    factor = min(factor, math.exp(-test.sigma * (iou[i][j] ** 2 - most**2)))
                else:
                    factor = min(factor, (1 - iou[i][j]) / (1 - most))
        decayed.append((score * factor, label, map_, mask))
    ranked = sorted(decayed, key=lambda each: -each[0])
    return [each for each in ranked if each[0] >= test.update_threshold]


def _iou(a: Tensor, b: Tensor) -> float:
    return ((a & b).sum() / (a | b).sum().clamp(min=1)).item()


def _last(net: Any, level: int) -> tuple[Tensor, Tensor]:
    conv = net.head.conv_mask_list[level]
    return conv.weight, conv.bias


FORMS: dict[str, dict[str, Any]] = {
    "as published": {},
    "a fork's": {
        "model": {"head": {"align_corners": True}},
        "test": {"points_nms": 0, "nms": "greedy", "maskness": False, "min_pixels": 40, "score_thr": 0.05},
    },
    "linear, 3 x 3, with the smallest areas": {
        "test": {"points_nms": 3, "kernel": "linear", "min_area": "stride", "mask_threshold": 0.6},
    },
    "softmax, probabilities interpolated": {
        "model": {"head": {"category": "softmax", "sigmoid_after_up": False}},
    },
    "finer features, few": {
        "model": {"head": {"upsample_pos": "before"}},
        "test": {"nms_pre": 15, "detections": 4, "update_threshold": 0.03},
    },
}  # fmt: skip


def seen(name: str) -> tuple[Any, Outlook, SOLOConfig]:
    """A model that has learned a little, and what it gives of a small image."""
    form = FORMS[name]
    recipe = small_recipe(model=form.get("model", {}), test={**LOOSE, **form.get("test", {})})
    batch = batch_of(*two_images())
    for step in range(40):
        recipe.train_step(batch, step)
    net = recipe.model.eval()
    with torch.no_grad():
        return net, net(torch.randn(1, 3, 48, 64)), recipe.config


@pytest.mark.parametrize("name", FORMS)
def test_objects_are_those_of_the_plain_form(name: str) -> None:
    """Scores, classes, and masks but for pixels on the threshold."""
    net, outlook, config = seen(name)
    frame = Frame((48, 64), (40, 62), (61, 95))
    with torch.no_grad():
        found = find_objects(net.head, outlook, 0, frame, config)
        expected = plain_objects(outlook, net, frame, config)
    assert 1 < len(expected) == len(found.scores)
    assert found.scores.tolist() == pytest.approx([score for score, _, _ in expected], rel=1e-4)
    masks = ldie_ext.rle_decode(found.masks, size=frame.file).bool()
    for label, mask, (_, wanted, pixels) in zip(found.labels.tolist(), masks, expected):
        assert label == wanted and (mask ^ pixels).sum() <= 2
    corners = ldie_ext.masks_to_boxes(masks).float()  # of the last pixels, where boxes end beyond them
    torch.testing.assert_close(found.boxes, corners + torch.tensor([0.0, 0, 1, 1]))


def test_so_8_candidates_are_the_best_places_above_the_threshold() -> None:
    """Of all levels together; a place with two categories is there twice."""
    levels = [torch.full((2, CLASSES, side, side), -9.0) for side in (8, 6, 4)]
    for level, label, y, x, logit in ((0, 1, 2, 3, 2.0), (0, 2, 2, 3, 1.0), (2, 0, 3, 3, 3.0), (1, 0, 0, 5, -1.0)):
        levels[level][1, label, y, x] = logit
    outlook = Outlook(levels, [])
    found = candidates(outlook, 1, small_config(test={"score_thr": 0.3}))
    assert found.levels.tolist() == [2, 0, 0] and found.labels.tolist() == [0, 1, 2]
    assert [own.tolist() for own in found.places] == [[19], [], [15]] and found.rows.tolist() == [1, 0, 0]
    assert found.scores.tolist() == pytest.approx([torch.tensor(x).sigmoid().item() for x in (3.0, 2.0, 1.0)])
    assert len(candidates(outlook, 1, small_config(test={"score_thr": 0.2})).scores) == 4
    few = candidates(outlook, 1, small_config(test={"score_thr": 0.2, "nms_pre": 2}))
    assert few.labels.tolist() == [0, 1] and [own.tolist() for own in few.places] == [[19], [], [15]]
    assert len(candidates(outlook, 0, SMALL).scores) == 0


def assert_same(one: Prediction, other: Prediction) -> None:
    """But for rounding of convolutions over several images."""
    assert torch.equal(one.labels, other.labels) and one.size == other.size
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=1)
    masks = [ldie_ext.rle_decode(each.masks, size=each.size).bool() for each in (one, other)]
    assert (masks[0] ^ masks[1]).sum() <= 2 * len(one.scores)


def test_images_of_many_sizes_at_once_are_each_what_they_are_alone() -> None:
    """Also two that fill a batch alike, and one of a single pixel."""
    recipe = small_recipe(test=LOOSE, input={"longest": 96})
    for step in range(25):
        recipe.train_step(batch_of(), step)
    net = recipe.model.eval()
    sizes = [(64, 64), (50, 80), (90, 60), (64, 62), (1, 1), (300, 20)]
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    images[0] = two_images()[0].image
    with torch.no_grad():
        together = net.predict(images)
        alone = [net.predict([image])[0] for image in images]
    assert len(together[0].scores) > 1
    for one, other, size in zip(together, alone, sizes, strict=True):
        assert one.size == size
        assert_same(one, other)


def test_masks_come_back_from_padding_and_resizing_to_their_file() -> None:
    """Each image's own sizes on the way: filled up, resized, as the file is."""
    net, frames = small_model(input={"longest": 96}), []
    sizes = [(50, 80), (64, 64), (90, 60), (52, 80)]

    def seen_frame(head: Any, outlook: Outlook, image: int, frame: Frame, config: SOLOConfig) -> Prediction:
        frames.append((image, frame))
        return find_objects(head, outlook, image, frame, config)

    with patch.object(model, "find_objects", seen_frame), torch.no_grad():
        net.predict([torch.zeros(3, *size, dtype=torch.uint8) for size in sizes])
    assert frames == [
        (0, Frame((64, 96), (60, 96), (50, 80))),
        (1, Frame((64, 96), (62, 96), (52, 80))),
        (0, Frame((64, 64), (64, 64), (64, 64))),
        (0, Frame((96, 64), (96, 64), (90, 60))),
    ]


@pytest.mark.parametrize("broken", [False, True])
def test_an_image_in_which_nothing_is_found(broken: bool) -> None:
    """Also where weights have overflown and all scores are NaN."""
    net = small_model(test={"score_thr": 0.9})
    if broken:
        with torch.no_grad():
            net.head.conv_cls.bias.fill_(float("nan"))  # type: ignore[union-attr]
    with torch.no_grad():
        (found,) = net.predict([torch.zeros(3, 40, 50, dtype=torch.uint8)])
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)
    assert isinstance(found.masks, ldie_ext.RLE) and len(found.masks) == 0 and found.size == (40, 50)
    assert found.proposals is None and found.keypoints is None


def test_no_image() -> None:
    assert small_model().predict([]) == []
