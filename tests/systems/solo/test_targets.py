# SPDX-License-Identifier: Apache-2.0
"""Which places learn which objects (SO-9), and the masks that they are compared with."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from ldie.systems.solo.targets import Targets, make_targets
from ldie.tasks.detection import Sample
from ldie.tasks.detection.batches import Batch, collate
from systems.rcnn.helpers import no_objects, squares, two_images
from systems.solo.helpers import SMALL, batch_of, small_config
from torch import Tensor
from torch.nn import functional

import ldie_ext

GRID = 16
"""Of 4 pixels each."""


def rectangles(*objects: tuple[int, int, int, int], image_id: int = 1, hidden: bool = False) -> Sample:
    """Objects of ``x, y, width, height`` with labels 0, 1, 2, 0, ...; where they overlap both have the pixels."""
    x, y, width, height = torch.tensor(objects, dtype=torch.float32).reshape(-1, 4).unbind(1)
    boxes = torch.stack([x, y, x + width, y + height], 1)
    outlines = [[outline] for outline in boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].tolist()]
    return Sample(
        image=torch.zeros(3, 64, 64, dtype=torch.uint8),
        image_id=image_id,
        boxes=boxes,
        labels=torch.arange(len(objects)) % 3,
        iscrowd=torch.zeros(len(objects), dtype=torch.bool),
        masks=ldie_ext.Polygons.from_coco([[[0.0, 0, 0, 0, 0, 0]]] * len(objects) if hidden else outlines),
        keypoints=None,
        size=(64, 64),
        file_name="1.png",
    )


def targets_of(*samples: Sample, ranges: list[list[float]] | None = None, **assign: Any) -> Targets:
    """On one grid, unless ranges say on several of the same size."""
    ranges = ranges or [[0, 1000]]
    config = small_config(
        model={"head": {"grids": [GRID] * len(ranges), "strides": [8] * len(ranges)}},
        solver={"assign": {"scale_ranges": ranges, **assign}},
    )
    return make_targets(collate(samples, 16), config)


def places_of(targets: Targets, label: int, level: int = 0, image: int = 0) -> set[tuple[int, int]]:
    """(row, column) of the places of a class."""
    level_labels = targets.labels[image].split(GRID**2)[level].view(GRID, GRID)
    return {(row, column) for row, column in (level_labels == label).nonzero().tolist()}


def block(rows: range, columns: range) -> set[tuple[int, int]]:
    return {(row, column) for row in rows for column in columns}


@pytest.mark.parametrize(
    ("clamp", "rows", "columns"),
    [(True, range(7, 10), range(6, 9)), (False, range(6, 11), range(4, 10))],
)
def test_so_9_at_most_three_by_three_places_learn_an_object(clamp: bool, rows: range, columns: range) -> None:
    """The middle of 48 x 40 pixels round (29.5, 33.5), counted in pixels: at sigma .4 it is 19.2 x 16 of them."""
    targets = targets_of(rectangles((6, 14, 48, 40)), sigma=0.4, clamp=clamp)
    assert places_of(targets, 0) == block(rows, columns)
    assert targets.positives[0].counts == [len(rows) * len(columns)]


def test_so_9_the_part_that_learns_is_sigma_of_the_box() -> None:
    """At sigma .15 [25.9, 33.1] x [30.5, 36.5]; a cell is 4 pixels."""
    targets = targets_of(rectangles((6, 14, 48, 40)), sigma=0.15, clamp=False)
    assert places_of(targets, 0) == block(range(7, 10), range(6, 9))
    assert places_of(targets_of(rectangles((6, 14, 48, 40)), sigma=0.0), 0) == {(8, 7)}


@pytest.mark.parametrize("first", ["large", "small"])
@pytest.mark.parametrize("order", ["area", "given"])
def test_so_9_where_two_share_a_place_the_small_one_or_the_later_one_has_it(order: str, first: str) -> None:
    """Both round (29.5, 29.5): places 6 to 8 of the large one, the middle one of the small one."""
    large, small = (6, 6, 48, 48), (27, 27, 6, 6)
    sizes = [large, small] if first == "large" else [small, large]
    targets = targets_of(rectangles(*sizes), order=order)
    found = {
        name: places_of(targets, label) for label, name in enumerate([first, "small" if first == "large" else "large"])
    }
    assert found["large"] | found["small"] == block(range(6, 9), range(6, 9))
    small_has = {(7, 7)} if order == "area" or first == "large" else set()
    assert found["small"] == small_has


def test_so_9_the_smaller_is_the_one_with_fewer_pixels() -> None:
    """Of two boxes of the same size, the one of which less is seen."""
    whole, half = rectangles((6, 6, 48, 48), (6, 6, 48, 48)), [6.0, 6, 54, 6, 6, 54]
    sample = dataclasses.replace(whole, masks=ldie_ext.Polygons.from_coco([[half], [[6.0, 6, 54, 6, 54, 54, 6, 54]]]))
    targets = targets_of(sample, order="area")
    assert (5, 5) in places_of(targets, 0)  # round the triangle's own centre, some (22, 22)
    assert not places_of(targets, 1) & places_of(targets, 0)
    assert places_of(targets, 1) == block(range(6, 9), range(6, 9)) - places_of(targets, 0)


def test_so_9_the_place_is_that_of_the_mask_not_of_the_box() -> None:
    """A corner's centre of mass is a third of its sides away from them."""
    sample = rectangles((4, 4, 36, 36))
    corner = dataclasses.replace(sample, masks=ldie_ext.Polygons.from_coco([[[4.0, 4, 40, 4, 4, 40]]]))
    assert places_of(targets_of(corner, sigma=0.0), 0) == {(3, 3)}
    assert places_of(targets_of(sample, sigma=0.0), 0) == {(5, 5)}


@pytest.mark.parametrize("skip", [True, False])
def test_so_9_objects_without_a_pixel(skip: bool) -> None:
    """Are left out, or are where their box is; their mask is empty either way."""
    targets = targets_of(rectangles((10, 10, 8, 8), hidden=True), skip_empty=skip, sigma=0.0)
    assert places_of(targets, 0) == (set() if skip else {(3, 3)})
    assert not targets.masks[0].any()


def test_so_9_sizes_at_both_ends_of_a_range_belong_to_it() -> None:
    """The root of width times height; ranges overlap, and who is in two is on both levels."""
    ranges = [[1.0, 8.0], [8.0, 12.0], [12.5, 40.0]]
    targets = targets_of(rectangles((4, 4, 8, 8), (40, 40, 18, 8), (44, 8, 10, 10)), ranges=ranges)
    found = [[bool(places_of(targets, label, level)) for level in range(3)] for label in range(3)]
    assert found == [[True, True, False], [False, True, False], [False, True, False]]
    lost = targets_of(rectangles((4, 4, 12, 13)), ranges=ranges)
    assert not (lost.labels >= 0).any() and [own.counts for own in lost.positives] == [[0]] * 3


def test_so_9_places_on_the_object_within_twice_its_middle() -> None:
    """``mask_cells``: a bar whose middle is 8 x 1.6 pixels learns where it is within 16 x 3.2."""
    targets = targets_of(rectangles((10, 28, 40, 8)), mask_cells=True)
    plain = targets_of(rectangles((10, 28, 40, 8)))
    assert places_of(plain, 0) == block(range(7, 9), range(6, 9))
    assert places_of(targets, 0) == block(range(7, 9), range(5, 10))
    ring = rectangles((6, 6, 48, 48))
    hole = ldie_ext.Polygons.from_coco([[[6.0, 6, 54, 6, 54, 16, 6, 16]]])  # seen at the top alone
    shown = targets_of(dataclasses.replace(ring, masks=hole), mask_cells=True)
    assert places_of(shown, 0) == block(range(1, 4), range(6, 9)) | block(range(2, 4), range(4, 10))


def test_images_of_a_batch_have_their_own_places_and_objects() -> None:
    """Objects are numbered through the batch; an image without objects has none."""
    targets = targets_of(
        rectangles((8, 8, 16, 16)), no_objects(), rectangles((8, 40, 16, 16), (40, 8, 16, 16)), sigma=0.0
    )
    assert [places_of(targets, label, image=image) for image, label in ((0, 0), (2, 0), (2, 1))] == [
        {(3, 3)}, {(11, 3)}, {(3, 11)},
    ]  # fmt: skip
    own = targets.positives[0]
    assert own.counts == [1, 0, 2]
    assert own.places.tolist() == [3 * GRID + 3, 3 * GRID + 11, 11 * GRID + 3]
    assert own.objects.tolist() == [0, 2, 1]


def unpacked(masks: Tensor, width: int) -> Tensor:
    return (masks[..., None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten(2)[..., :width].bool()


def drawn(batch: Batch, samples: list[Sample]) -> Tensor:
    """Float [G,H,W]: the pixels of all objects in the batch's images."""
    size = (batch.images.shape[2], batch.images.shape[3])
    return torch.cat([ldie_ext.polygons_to_masks(sample.masks, size) for sample in samples]).float()


SCALES = {"each level twice as fine": {"multi_scale_loss": True}, **{
    f"all of stride {stride}": {"multi_scale_loss": False, "loss_stride": stride} for stride in (2, 4, 8)
}}  # fmt: skip


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("mode", ["area", "nearest", "bilinear", "fraction"])
def test_so_8_masks_are_compared_in_the_configured_stride(mode: str, name: str) -> None:
    samples = [*two_images(), squares((2, 3, 5), image_id=4)]
    batch = batch_of(*samples)
    targets = make_targets(batch, small_config(solver={"mask_targets": mode, **SCALES[name]}))
    pixels = drawn(batch, samples)
    wanted = [4, 4, 8] if name.startswith("each") else [SCALES[name]["loss_stride"]] * 3
    for masks, width, stride in zip(targets.masks, targets.widths, wanted, strict=True):
        part = functional.avg_pool2d(pixels[:, None], stride)[:, 0]
        middle = functional.interpolate(pixels[:, None], scale_factor=1 / stride, mode="bilinear")[:, 0]
        most = functional.one_hot(part.flatten(1).argmax(1), part[0].numel()).view_as(part).bool()
        expected = {
            "fraction": part,
            "area": (part >= 0.5) | most,
            "nearest": pixels[:, ::stride, ::stride].bool(),
            "bilinear": middle >= 0.5,
        }[mode]
        assert width == 64 // stride
        found = masks if mode == "fraction" else unpacked(masks, width)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_targets_of_run_lengths_are_those_of_polygons() -> None:
    """In one batch, too, where the one image has these and the other those."""
    plain = [squares((6, 8, 20), (34, 30, 24)), squares((20, 4, 30), image_id=2)]
    runs = dataclasses.replace(plain[0], masks=ldie_ext.polygons_to_rle(plain[0].masks, (64, 64)))
    expected, found = (make_targets(batch_of(first, plain[1]), SMALL) for first in (plain[0], runs))
    assert torch.equal(found.labels, expected.labels)
    for ours, theirs in zip(found.masks, expected.masks):
        assert torch.equal(ours, theirs)


def test_padding_is_part_of_the_image_in_which_places_are_counted() -> None:
    """A grid lies over the batch's images, which are as large as the largest; what was filled up has no object."""
    small = dataclasses.replace(squares((8, 8, 16)), image=torch.zeros(3, 32, 40, dtype=torch.uint8), size=(32, 40))
    large = squares((8, 8, 16), image_id=2)
    one = {
        "model": {"head": {"grids": [4], "strides": [8]}},
        "solver": {"assign": {"scale_ranges": [[0, 99]], "sigma": 0}},
    }
    config = small_config(**one)
    alone, beside = (make_targets(collate(samples, 16), config) for samples in ([small], [small, large]))
    assert [own.places.tolist() for own in (alone.positives[0], beside.positives[0])] == [[5], [0, 0]]
    assert alone.masks[0].shape[1:] == (8, 2) and beside.masks[0].shape[1:] == (16, 2)
