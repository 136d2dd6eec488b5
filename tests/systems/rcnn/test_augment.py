# SPDX-License-Identifier: Apache-2.0
"""Images on their way into training, and what they say where they come out again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from ldie.config import merge
from ldie.errors import ConfigError
from ldie.systems.rcnn.batch import collate, training_images
from ldie.systems.rcnn.config import RCNNConfig
from ldie.systems.rcnn.postprocess import image_keypoints
from ldie.systems.rcnn.presets import TINY
from ldie.tasks.detection.batches import network_input
from numpy.random import default_rng
from systems.rcnn.helpers import SMALL, facts_of, squares

import ldie_ext


@pytest.mark.parametrize("mirror", [0.0, 1.0])
@pytest.mark.parametrize("side", [45, 102, 64])
@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
def test_keypoints_come_back_where_the_file_has_them(convention: Any, side: int, mirror: float) -> None:
    data = {"shorter_sides": [side], "longest": 256, "mirror": mirror, "color_jitter": 0.0}
    config = merge(SMALL, {"model": {"convention": convention}, "solver": {"data": data}})
    sample = squares((8, 12, 40))
    assert sample.keypoints is not None
    made = training_images(config, {**facts_of(config), "flip_pairs": []})(sample, default_rng(0))
    batch = collate([made], 1)
    assert batch.keypoints is not None and made.image.shape[1] == side
    centre = 0.5 if convention == "detectron2" else 0.0
    cells = 4 * 56
    places = batch.keypoints + torch.tensor([centre, centre, 0.0])
    index, valid = ldie_ext.keypoint_targets(places, batch.boxes, (cells, cells))
    heat = torch.nn.functional.one_hot(index, cells * cells).float().unflatten(2, (cells, cells))
    test = replace(config.test, keypoint_scale=8)
    found = image_keypoints(heat, batch.boxes, torch.tensor([64 / side, 64 / side]), test, convention)
    expected = sample.keypoints[..., :2].clone()
    if mirror:
        expected[..., 0] = 63 - expected[..., 0]
    assert valid.all()
    assert (found[..., :2] - expected).abs().max() < 0.16  # a step of the search, scaled, and half a cell


def test_kr_2_images_are_filled_up_with_what_is_zero_after_normalisation() -> None:
    small, large = squares((4, 4, 20)), squares((4, 4, 20), image_id=2)
    small = replace(small, image=small.image[:, :40, :50])
    batch = collate([small, large], 32)
    assert batch.images.shape == (2, 3, 64, 64) and batch.sizes.tolist() == [[40, 50], [64, 64]]
    normal = network_input(batch.images, batch.sizes, TINY.input)
    mean, std = (torch.tensor(values)[:, None, None] for values in (TINY.input.mean, TINY.input.std))
    torch.testing.assert_close(normal[0, :, :40, :50], (small.image / 255 - mean) / std)
    assert not normal[0, :, 40:].any() and not normal[0, :, :, 50:].any()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.backbone.blocks", [0, 1, 1]),
        ("model.backbone.widths", [32, -1, 96]),
        ("model.proposals.anchor_ratios", []),
        ("model.proposals.anchor_ratios", [0.0]),
        ("model.proposals.anchor_sizes", [[12], [-24], [48], [96]]),
        ("model.box_head.weights", [10.0, 10.0, 5.0, 0.0]),
        ("solver.data.shorter_sides", []),
        ("solver.data.shorter_sides", [0]),
        ("input.std", [0.2, 0.0, 0.2]),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_their_key(key: str, value: list[Any]) -> None:
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        merge(RCNNConfig(), tree)
