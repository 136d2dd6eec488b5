# SPDX-License-Identifier: Apache-2.0
"""The objects of a batch on each level, and which of them a hypothesis learns."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from ldie.systems.mask_pyramid.hypotheses import Seeds
from ldie.systems.mask_pyramid.truth import Truth, assign, make_truth
from systems.mask_pyramid.helpers import batch_of, seeds_at, seeds_of, small_config, small_model, truth_of
from systems.rcnn.helpers import no_objects, run_lengths, squares, two_images
from torch import Tensor

import ldie_ext

STRIDES = (16, 8, 4)


def parts(sample_masks: Tensor, stride: int) -> Tensor:
    """[G,h,w]: which part of each cell is an object's, by a loop."""
    count, height, width = sample_masks.shape
    made = torch.zeros(count, -(-height // stride), -(-width // stride))
    for row, y, x in product(range(count), range(made.shape[1]), range(made.shape[2])):
        cell = sample_masks[row, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
        made[row, y, x] = cell.sum() / stride**2
    return made


@pytest.mark.parametrize("mode", ["area", "nearest", "bilinear", "fraction"])
def test_mp_7_targets_of_all_levels_are_made_in_one_pass(mode: str) -> None:
    """From the same outlines, the coarsest first; run lengths beside polygons."""
    samples = [squares((6, 8, 20), (33, 29, 27)), run_lengths(squares((20, 4, 30), (4, 40, 16), image_id=2))]
    truth = make_truth(batch_of(*samples), small_config(solver={"loss": {"targets": mode}}))
    pixels = torch.zeros(4, 64, 64)
    for row, (x, y, side) in enumerate([(6, 8, 20), (33, 29, 27), (20, 4, 30), (4, 40, 16)]):
        pixels[row, y : y + side, x : x + side] = 1
    assert truth.areas.tolist() == [400, 729, 900, 256] and truth.scales.tolist() == [20, 27, 30, 16]
    assert truth.objects.tolist() == [[0, 1], [2, 3]]
    for stride, covered, targets in zip(STRIDES, truth.covered, truth.targets, strict=True):
        fraction = parts(pixels, stride)
        fullest = fraction == fraction.amax((1, 2), keepdim=True)
        first = torch.zeros_like(fullest).flatten(1)
        first[torch.arange(4), fullest.flatten(1).int().argmax(1)] = True
        by_area = (fraction >= 0.5) | first.view_as(fullest)
        assert torch.equal(covered, by_area)
        if mode == "bilinear":
            middle = pixels[:, stride // 2 - 1 :: stride, stride // 2 - 1 :: stride]
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                middle = middle + pixels[:, stride // 2 - 1 + dy :: stride, stride // 2 - 1 + dx :: stride]
            expected = (middle >= 2).float()
        else:
            expected = {"area": by_area.float(), "nearest": pixels[:, ::stride, ::stride], "fraction": fraction}[mode]
        torch.testing.assert_close(targets, expected)


def test_mp_20_no_object_vanishes_on_coarse_levels() -> None:
    """One of 3 x 3 pixels is a cell of each level, where nearest pixels lose it: it can be learnt from the start."""
    batch = batch_of(squares((21, 37, 3), (40, 8, 18)))
    truth = make_truth(batch, small_config())
    nearest = make_truth(batch, small_config(solver={"loss": {"targets": "nearest"}})).targets
    for level, stride in enumerate(STRIDES):
        assert truth.covered[level][0].sum() == 1
        y, x = (truth.covered[level][0].nonzero()[0] * stride).tolist()
        assert y <= 37 < y + stride and x <= 21 < x + stride
    assert [level[0].sum().item() for level in nearest] == [0, 0, 0]
    where = torch.tensor([[[24.0, 40.0], [56.0, 56.0]]])
    found = assign(where, torch.ones(1, 2, dtype=torch.bool), 0, None, truth, small_config())
    assert found.tolist() == [[0, -1]]


def plain_assign(
    places: Tensor, alive: Tensor, level: int, seeds: Seeds | None, truth: Truth, ranges: list[list[float]]
) -> list[list[int]]:
    """By loops over images, hypotheses and objects."""
    result: list[list[int]] = []
    for image in range(len(places)):
        row: list[int] = []
        for place, lives in zip(places[image].tolist(), alive[image].tolist()):
            best, found = (2, 0.0), -1
            for each in truth.objects[image].tolist():
                x, y = (int(side // STRIDES[level]) for side in place)
                if not lives or each < 0 or not truth.covered[level][each, y, x]:
                    continue
                if ranges and not ranges[level][0] <= truth.scales[each] <= ranges[level][1]:
                    continue
                supported = seeds is not None and any(
                    own == each and ok for own, ok in zip(seeds.objects[image].tolist(), seeds.alive[image].tolist())
                )
                if (supported, int(truth.areas[each])) < best:
                    best, found = (supported, int(truth.areas[each])), each
            row.append(found)
        result.append(row)
    return result


def test_mp_20_assignment_is_that_of_a_plain_loop() -> None:
    """An object without a hypothesis first, then the smaller, then the earlier; MP-4: of the level's sizes alone."""
    found_some = 0
    for case in range(60):
        torch.manual_seed(case)
        counts = torch.randint(0, 6, (3,)).tolist()
        total = sum(counts)
        rows = [list(range(sum(counts[:image]), sum(counts[: image + 1]))) for image in range(3)]
        covered = [torch.rand(total, 64 // stride, 64 // stride) < 0.5 for stride in STRIDES]
        areas = (torch.randint(1, 5, (total,)) * (2**20 if case % 2 else 7)).tolist()
        truth = truth_of(covered, rows, areas)
        ranges = [[0, 30], [10, 40], [30, 5000]] if case % 3 == 0 else []
        config = small_config(solver={"assign": {"size_ranges": ranges}})
        level, slots = case % 3, 7
        places = torch.rand(3, slots, 2) * 64
        alive = torch.rand(3, slots) < 0.8
        objects = torch.stack([torch.randint(-1, max(total, 1), (4,)) for _ in range(3)])
        seeds = seeds_of((torch.rand(3, 4) < 0.7).tolist(), objects.tolist())
        before = None if case % 4 == 0 else seeds
        found = assign(places, alive, level, before, truth, config).tolist()
        assert found == plain_assign(places, alive, level, before, truth, ranges), case
        found_some += sum(row >= 0 for image in found for row in image)
    assert found_some > 200


def test_objects_with_a_hypothesis_are_told_apart_by_area_to_the_pixel() -> None:
    covered = [torch.ones(2, 64 // stride, 64 // stride, dtype=torch.bool) for stride in STRIDES]
    truth = truth_of(covered, [[0, 1]], [101, 100])
    seeds = seeds_at([[(8.0, 8.0), (24.0, 8.0)]])._replace(objects=torch.tensor([[0, 1]]))
    found = assign(torch.tensor([[[40.0, 40.0]]]), torch.ones(1, 1, dtype=torch.bool), 0, seeds, truth, small_config())
    assert found.tolist() == [[1]]


def test_mp_4_each_level_learns_objects_of_its_sizes() -> None:
    """Those born on it; without ranges, of all sizes."""
    batch = batch_of(squares((4, 4, 12), (20, 20, 40)))
    everywhere = torch.stack(torch.meshgrid(*[torch.arange(16) * 4 + 2.0] * 2, indexing="xy"), 2).reshape(1, -1, 2)
    alive = torch.ones(1, 256, dtype=torch.bool)
    for ranges, expected in (
        ([], [{-1, 0, 1}] * 3),
        ([[32, 1000], [0, 1000], [0, 32]], [{-1, 1}, {-1, 0, 1}, {-1, 0}]),
        ([[32, 32], [12, 12], [40, 40]], [{-1}, {-1, 0}, {-1, 1}]),
    ):
        config = small_config(solver={"assign": {"size_ranges": ranges}})
        truth = make_truth(batch, config)
        for level, wanted in enumerate(expected):
            assert set(assign(everywhere, alive, level, None, truth, config).flatten().tolist()) == wanted


def test_objects_of_other_images_are_none() -> None:
    truth = make_truth(batch_of(*two_images(), no_objects()), small_config())
    assert truth.objects.tolist() == [[0, 1], [2, 3], [-1, -1]]
    places = torch.full((3, 1, 2), 16.0).expand(3, 256, 2).clone()
    places[:, :, 0] = torch.arange(256) % 64
    places[:, :, 1] = torch.arange(256) // 64 * 16.0
    found = assign(places, torch.ones(3, 256, dtype=torch.bool), 2, None, truth, small_config())
    assert [set(image.tolist()) for image in found] == [{-1, 0, 1}, {-1, 2, 3}, {-1}]


def test_masks_without_a_pixel_are_nowhere() -> None:
    sample = squares((20, 20, 20))
    sample.masks = ldie_ext.Polygons.from_coco([[[0.0, 0, 0, 0, 0, 0]]])
    truth = make_truth(batch_of(sample), small_config())
    assert truth.areas.tolist() == [0] and not any(bool(level.any()) for level in truth.covered)


@pytest.mark.parametrize("teach", [False, True])
def test_missed_objects_are_taught_where_they_are_fullest(teach: bool) -> None:
    """In training they are born on the next level, whatever is claimed there; in evaluation nothing is known."""
    model = small_model(
        model={"growth": {"low_thresh": 0.0, "topk_keep": 8, "max_alive": [20]}},
        solver={"assign": {"teach": teach, "size_ranges": [[0, 30], [0, 2000], [0, 2000]]}},
    )
    batch = batch_of(squares((4, 4, 12), (20, 20, 40)))
    truth = make_truth(batch, model.config)
    features = [torch.randn(1, 16, side, side) for side in (4, 8, 16)]
    levels = model.growth(features, batch.sizes, truth)
    assert [level.born.item() for level in levels] == [16, 0, int(teach)], "the first level learns none of its size"
    assert [level.born.item() for level in model.growth(features, batch.sizes)] == [16, 0, 0]
    seeds = levels[-1].hypotheses.seeds
    assert seeds.objects is not None
    assert set(seeds.objects[seeds.alive].tolist()) == ({-1, 0, 1} if teach else {-1, 0})
    if teach:
        (place,) = seeds.places[(seeds.objects == 1) & seeds.alive].tolist()
        assert place == [28.0, 28.0], "the first of its fullest cells"
