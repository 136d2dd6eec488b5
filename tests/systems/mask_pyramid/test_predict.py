# SPDX-License-Identifier: Apache-2.0
"""From the hypotheses of the last level to objects: each step against its plain form, and whole images."""

from __future__ import annotations

import dataclasses
from typing import Any
from unittest.mock import patch

import pytest
import torch
from ldie.systems.mask_pyramid import MaskPyramid, MaskPyramidConfig
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks
from ldie.systems.mask_pyramid.postprocess import Scored, find_objects, ranked, scored
from ldie.systems.mask_pyramid.score import Opinion
from ldie.tasks.detection.batches import network_input
from ldie.tasks.detection.mask_maps import Frame
from systems.mask_pyramid.helpers import CLASSES, batch_of, seeds_of, small_config, small_model, small_recipe
from systems.rcnn.helpers import two_images
from systems.solo.test_predict import assert_same, plain_suppression, resized
from torch import Tensor

import ldie_ext

BOXES = [name for name in dir(ldie_ext) if "box" in name or "anchor" in name or "roi" in name or name.endswith("nms")]


def hypotheses(alive: list[int], size: int = 16) -> tuple[Hypotheses, Opinion]:
    """By lot, of one image; each with a mask somewhere."""
    count = len(alive)
    logits = torch.randn(1, count, size, size) - 2
    for slot in range(count):
        logits[0, slot, slot % 7 : slot % 7 + 6, 2:9] += 5
    return Hypotheses(seeds_of([alive]), Masks(logits, None)), Opinion(
        torch.randn(1, count, CLASSES + 1), torch.randn(1, count)
    )


def plain_scores(own: Hypotheses, opinion: Opinion, config: MaskPyramidConfig) -> list[tuple[float, int]]:
    """Score and label of each hypothesis."""
    result, options = [], config.model.score
    for slot in range(own.masks.logits.shape[1]):
        if not own.seeds.alive[0, slot]:
            result.append((0.0, -1))
            continue
        p = opinion.classes[0, slot].softmax(0)[:CLASSES]
        score, label = p.max().item(), int(p.argmax())
        mask = own.masks.logits[0, slot].sigmoid()
        if options.maskness:
            inside = mask[mask > config.test.mask_threshold]
            score *= inside.mean().item() if len(inside) else 0.0
        x, y = (int(side // 4) for side in own.seeds.places[0, slot].tolist())
        score *= mask[y, x].item() ** options.root_power
        if options.iou_head:
            score *= opinion.overlaps[0, slot].sigmoid().item()  # type: ignore[index]
        result.append((score, label))
    return result


SCORES: dict[str, dict[str, Any]] = {
    "class alone": {"maskness": False},
    "maskness": {},
    "root": {"root_power": 0.5, "maskness": False},
    "root and maskness": {"root_power": 2.0},
    "overlap": {"iou_head": True},
}


@pytest.mark.parametrize("name", SCORES)
def test_mp_16_scores_are_of_what_they_say(name: str) -> None:
    """Also MP-10; of a hypothesis that is not alive 0, never that of background."""
    config = small_config(model={"score": SCORES[name]})
    own, opinion = hypotheses([1, 1, 0, 1, 1, 0])
    if not config.model.score.iou_head:
        opinion = opinion._replace(overlaps=None)
    opinion.classes[0, 0] = torch.tensor([0.0, 1, -1, 9])  # background above all
    found = scored(own, opinion, 4, config)
    expected = plain_scores(own, opinion, config)
    torch.testing.assert_close(found.scores[0], torch.tensor([score for score, _ in expected]))
    assert found.labels[0, 0] == 1
    labels = [label for label, alive in zip(found.labels[0].tolist(), own.seeds.alive[0].tolist()) if alive]
    assert labels == [label for _, label in expected if label >= 0]


def test_mp_16_who_is_weak_at_home_falls_behind() -> None:
    """A pseudo pyramid, strong elsewhere, after one that is as strong at its own place."""
    config = small_config(model={"score": {"root_power": 1.0, "maskness": False}})
    own, _ = hypotheses([1, 1])
    own.seeds.births[..., :2] = 2.0
    own.masks.logits[0, 0, 0, 0], own.masks.logits[0, 1, 0, 0] = -3.0, 3.0
    opinion = Opinion(torch.tensor([[[4.0, 0, 0, 0], [3.0, 0, 0, 0]]]), None)
    weak, strong = scored(own, opinion, 4, config).scores[0].tolist()
    assert strong > 10 * weak
    plain = small_config(model={"score": {"maskness": False}})
    assert scored(own, opinion, 4, plain).scores[0].argmax() == 0


NMS: dict[str, dict[str, Any]] = {
    "matrix": {},
    "linear": {"kernel": "linear", "update_threshold": 0.1},
    "greedy": {"nms": "greedy", "nms_threshold": 0.3},
    "few": {"score_thr": 0.3, "detections": 3},
}


@pytest.mark.parametrize("name", NMS)
def test_mp_5_objects_come_in_the_order_of_their_scores_after_suppression(name: str) -> None:
    """MP-11: Matrix NMS or one by one, within classes; by the plain form of SOLO's tests."""
    config = small_config(test={"score_thr": 0.05, **NMS[name]})
    maps = hypotheses([1] * 12)[0].masks.logits.sigmoid()
    own = Scored(maps, torch.rand(1, 12), torch.randint(0, 2, (1, 12)))
    found = ranked(own, 0, config)
    kept = [
        (own.scores[0, row].item(), int(own.labels[0, row]), row, maps[0, row] > 0.5)
        for row in own.scores[0].argsort(descending=True).tolist()
        if own.scores[0, row] > config.test.score_thr
    ]
    expected = plain_suppression(kept, config)[: config.test.detections]  # type: ignore[arg-type]
    assert found.rows.tolist() == [row for _, _, row, _ in expected] and len(expected) > 1
    torch.testing.assert_close(found.scores, torch.tensor([score for score, *_ in expected]))
    assert found.labels.tolist() == [label for _, label, *_ in expected]
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


@pytest.mark.parametrize("paint", [False, True])
def test_mp_5_painting_gives_a_pixel_to_the_highest_score(paint: bool) -> None:
    """Where masks of two classes overlap; one that is covered altogether is left out."""
    maps = torch.zeros(1, 3, 16, 16)
    maps[0, 0, :, :10] = maps[0, 1, :, 6:] = maps[0, 2, :, 7:9] = 1.0
    own = Scored(maps, torch.tensor([[0.8, 0.9, 0.5]]), torch.tensor([[0, 1, 2]]))
    frame = Frame((64, 64), (64, 64), (64, 64))
    found = find_objects(own, 0, frame, small_config(test={"paint": paint}))
    pixels = ldie_ext.rle_decode(found.masks, size=(64, 64)).bool()
    assert found.labels.tolist() == ([1, 0] if paint else [1, 0, 2])
    wide = pixels.sum((1, 2)).tolist()
    assert wide == ([64 * 40, 64 * 24] if paint else [64 * 40, 64 * 40, 64 * 8])
    assert ((pixels[0] & pixels[1]).sum() == 0) == paint
    corners = ldie_ext.masks_to_boxes(pixels).float() + torch.tensor([0.0, 0, 1, 1])
    torch.testing.assert_close(found.boxes, corners)


@pytest.fixture(scope="module")
def net() -> MaskPyramid:
    """Has learned a little of :func:`two_images`."""
    sections = {"solver": {"lr": 0.01, "assign": {"teach": True}}, "input": {"longest": 96}}
    recipe = small_recipe(**sections)
    for step in range(40):
        recipe.train_step(batch_of(), step)
    return recipe.model.eval()


def test_objects_are_those_of_the_plain_form(net: MaskPyramid) -> None:
    """From maps of the last level over the filled-up image to the file's pixels."""
    frame = Frame((48, 64), (40, 62), (61, 95))
    images = network_input(batch_of().images[:1], torch.tensor([[40, 62]]), net.config.input)[:, :, :48]
    with torch.no_grad():
        pyramid = net(images, torch.tensor([[40, 62]]))
        own = scored(pyramid.levels[-1].hypotheses, pyramid.opinion, 4, net.config)
        found = find_objects(own, 0, frame, net.config)
        ranking = ranked(own, 0, net.config)
    kept = []
    for score, row, label in zip(ranking.scores.tolist(), ranking.rows.tolist(), ranking.labels.tolist()):
        full = resized(own.maps[0, row][None], frame.padded, False)[:, :40, :62]
        pixels = resized(full, frame.file, False)[0] > 0.5
        if pixels.sum() >= 1:
            kept.append((score, label, pixels))
    assert len(found.scores) == len(kept) > 1
    assert found.scores.tolist() == pytest.approx([score for score, *_ in kept])
    masks = ldie_ext.rle_decode(found.masks, size=frame.file).bool()
    for mask, (_, _, pixels) in zip(masks, kept):
        assert (mask ^ pixels).sum() <= 2


def test_mp_1_no_box_is_in_forward(net: MaskPyramid) -> None:
    """No op on boxes is called by networks and losses, and boxes of the data change nothing; those of the results are
    the masks'."""
    batch = batch_of()
    expected = small_recipe().train_step(batch, 0)
    forbidden = {name: patch.object(ldie_ext, name, side_effect=AssertionError(name)) for name in BOXES}
    assert {"nms", "roi_align", "box_iou", "decode_boxes", "matrix_nms"} <= forbidden.keys()
    nowhere = dataclasses.replace(batch, boxes=torch.full_like(batch.boxes, float("nan")))
    for mock in forbidden.values():
        mock.start()
    try:
        found = small_recipe().train_step(nowhere, 0)
        with torch.no_grad():
            small_model()(torch.randn(1, 3, 64, 64), torch.tensor([[64, 64]]))
    finally:
        patch.stopall()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not any("box" in name or "anchor" in name for name, _ in net.named_modules())
    with torch.no_grad():
        (found,) = net.predict([two_images()[0].image])
    assert len(found.boxes) > 1
    torch.testing.assert_close(found.boxes, ldie_ext.rle_to_boxes(found.masks).to(found.boxes.dtype))


def test_images_of_many_sizes_at_once_are_each_what_they_are_alone(net: MaskPyramid) -> None:
    """Also two that fill a batch alike, and one of a single pixel."""
    sizes = [(64, 64), (50, 80), (90, 60), (64, 62), (1, 1), (300, 20)]
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    images[0] = two_images()[0].image
    with torch.no_grad():
        together = net.predict(images)
        alone = [net.predict([image])[0] for image in images]
        assert net.predict([]) == []
    assert len(together[0].scores) > 1
    for one, other, size in zip(together, alone, sizes, strict=True):
        assert one.size == size
        assert_same(one, other)


@pytest.mark.parametrize("broken", [False, True])
def test_an_image_in_which_nothing_is_found(broken: bool) -> None:
    """Also where weights have overflown and everything is NaN."""
    net = small_model(test={"score_thr": 0.0 if broken else 0.99})
    if broken:
        with torch.no_grad():
            for weight in net.parameters():
                weight.fill_(float("nan"))
    with torch.no_grad():
        (found,) = net.predict([torch.zeros(3, 40, 50, dtype=torch.uint8)])
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.labels.shape == (0,)
    assert isinstance(found.masks, ldie_ext.RLE) and len(found.masks) == 0 and found.size == (40, 50)


def test_results_are_read_from_the_finest_level_that_grows() -> None:
    """Objects are where they are, whatever its stride, also where the batch is no multiple of the coarsest."""
    full = torch.zeros(1, 3, 80, 48)
    for levels, stride in ((1, 16), (2, 8), (3, 4)):
        net = small_model(solver={"stage": {"levels": levels}})
        with torch.no_grad():
            pyramid = net(full, torch.tensor([[80, 48]]))
        assert pyramid.levels[-1].hypotheses.masks.logits.shape[2:] == (80 // stride, 48 // stride)
        frames: list[Frame] = []

        def seen(own: Scored, image: int, frame: Frame, config: Any, frames: list[Frame] = frames) -> Tensor:
            frames.append(frame)
            return find_objects(own, image, frame, config)

        with patch("ldie.systems.mask_pyramid.model.find_objects", seen), torch.no_grad():
            net.predict([torch.zeros(3, 70, 42, dtype=torch.uint8)])
        (frame,) = frames
        assert frame == Frame((64, 48), (64, 38), (70, 42))
