# SPDX-License-Identifier: Apache-2.0
"""Multi-scale resizing and large-scale jitter: one affine map moves image, boxes, masks and keypoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldie.tasks.detection import (
    CocoDataset,
    Compose,
    LargeScaleJitter,
    RandomMirror,
    ResizeShorterSide,
    Sample,
    build_shapes,
)
from ldie.tasks.detection.geometry import image_size
from ldie.tasks.detection.masks import to_bitmaps
from tasks.detection.test_transforms import BOXES, assert_consistent, painted

from ldie_ext import RLE


@pytest.fixture(params=[False, True], ids=["polygons", "rle"])
def sample(request: pytest.FixtureRequest) -> Sample:
    """20 x 24 pixels with two rectangles."""
    return painted(as_rle=request.param)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def moved_by(before: Sample, after: Sample, scale: float, left: int, top: int) -> bool:
    """Whether all objects are those of ``before``, scaled, moved by -left and -top, and cut at the border."""
    height, width = image_size(after)
    shift, limit = torch.tensor([left, top]).repeat(2), torch.tensor([width, height]).repeat(2)
    boxes = (before.boxes * scale - shift).clamp(min=0).minimum(limit)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    if not torch.equal(after.labels, before.labels[kept]) or not torch.allclose(after.boxes, boxes[kept]):
        return False
    points = (before.keypoints[kept][..., :2] + 0.5) * scale - shift[:2] - 0.5
    seen = before.keypoints[kept][..., 2:] * ((points >= -0.5) & (points < limit[:2] - 0.5)).all(-1, keepdim=True)
    filled = torch.zeros(int(kept.sum()), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(filled, boxes[kept].int().tolist()):
        mask[y0:y1, x0:x1] = True
    expected = torch.cat([points * (seen > 0), seen], dim=-1)
    return torch.allclose(after.keypoints, expected) and torch.equal(to_bitmaps(after.masks, (height, width)), filled)


@pytest.mark.parametrize(
    ("sizes", "longest", "expected"),
    [((40,), 1000, (40, 48)), ((60,), 1000, (60, 72)), ((60,), 48, (40, 48)), ((7,), 1000, (7, 8)), ((1,), 1, (1, 1))],
)
def test_the_shorter_side(sizes, longest: int, expected: tuple[int, int], sample: Sample) -> None:
    after = ResizeShorterSide(sizes, longest)(sample, rng(0))
    assert image_size(after) == expected and after.size == (20, 24)
    if expected[0] >= 20:
        assert moved_by(sample, after, expected[0] / 20, 0, 0)
    turned = ResizeShorterSide(sizes, longest)(
        Sample(**vars(sample) | {"image": sample.image.mT, "masks": None}), rng(0)
    )
    assert image_size(turned) == expected[::-1]


def test_all_sizes_are_drawn(sample: Sample) -> None:
    shorter = [image_size(ResizeShorterSide((20, 40, 60))(sample, rng(seed)))[0] for seed in range(60)]
    assert all(10 <= shorter.count(size) <= 30 for size in (20, 40, 60))


@pytest.mark.parametrize("scale", [1, 2])
def test_jitter_cuts_what_is_larger_than_the_window(scale: int, sample: Sample) -> None:
    """At whole scales every pixel is accounted for, by one offset for all that a sample has."""
    offsets = set()
    for seed in range(12):
        after = LargeScaleJitter((10, 12), (2.0 * scale, 2.0 * scale))(sample, rng(seed))
        assert image_size(after) == (10, 12)
        places = [(left, top) for left in range(24 * scale - 11) for top in range(20 * scale - 9)]
        if len(after):
            fitting = [place for place in places if moved_by(sample, after, scale, *place)]
            assert fitting
            offsets.update(fitting[:1] if len(fitting) == 1 else [])
        if scale == 1:
            assert_consistent(after)
    assert len(offsets) > 3


def test_jitter_fills_what_is_smaller_than_the_window(sample: Sample) -> None:
    after = LargeScaleJitter((60, 96), (0.5, 0.5))(sample, rng(0))  # fits with a factor of 3
    assert image_size(after) == (60, 96)
    assert (after.image[:, 30:] == 128).all() and (after.image[:, :, 36:] == 128).all()
    assert torch.allclose(after.boxes, BOXES * 1.5)
    assert torch.allclose(after.keypoints[:, 0, :2], (sample.keypoints[:, 0, :2] + 0.5) * 1.5 - 0.5)
    areas = to_bitmaps(after.masks, (60, 96)).sum((1, 2)).float()
    exact = 2.25 * (BOXES[:, 2:] - BOXES[:, :2]).prod(dim=1)
    assert ((areas - exact).abs() < 20).all() and isinstance(after.masks, type(sample.masks))


def test_factors_of_the_jitter_are_spread_over_their_range(sample: Sample) -> None:
    scales = []
    for seed in range(200):
        after = LargeScaleJitter((20, 24), (0.5, 1.0))(sample, rng(seed))  # nothing is cut
        scales.append(float((after.boxes[1, 2:] - after.boxes[1, :2]).prod().sqrt() / 48**0.5))
    assert 0.49 < min(scales) < 0.55 and 0.95 < max(scales) < 1.01
    assert np.quantile(scales, 0.5) == pytest.approx(0.75, abs=0.06)


def test_a_mirror_after_a_jitter_keeps_sides_apart(tmp_path) -> None:
    """Of squares and triangles, the right corner is to the right of the left one, whatever was done."""
    dataset = CocoDataset(build_shapes(tmp_path / "shapes", hard=True, train=40, val=1), "train2017")
    augment = Compose([LargeScaleJitter((96, 128), (0.5, 2.0)), RandomMirror(flip_pairs=tuple(dataset.flip_pairs))])
    compared = crowds = 0
    for index in range(len(dataset)):
        after = augment(dataset[index], rng(index))
        _, right, _, left = after.keypoints.unbind(dim=1)
        both = (right[:, 2] > 0) & (left[:, 2] > 0)
        assert (right[both, 0] > left[both, 0] - 1e-3).all()
        assert (after.boxes[:, 2:] > after.boxes[:, :2]).all()
        compared, crowds = compared + int(both.sum()), crowds + isinstance(after.masks, RLE)
    assert compared > 10 and crowds > 0
