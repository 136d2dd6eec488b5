"""Masks as polygons and run lengths, against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from ldie.tasks.detection.contours import mask_to_polygons
from ldie.tasks.detection.segmentation import clip_polygon, decode, encode, rle_counts


def random_masks(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(rng.integers(1, 30, 2)) < rng.choice([0.0, 0.2, 0.5, 0.97, 1.0]) for _ in range(count)]


def test_run_lengths_are_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    for mask in random_masks(200):
        rle = encode(mask)
        compressed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        assert coco_mask.frPyObjects(rle, *mask.shape)["counts"] == compressed["counts"]
        assert rle_counts(compressed) == rle["counts"]
        assert rle_counts(compressed | {"counts": compressed["counts"].decode()}) == rle["counts"]
        assert np.array_equal(decode(rle, mask.shape), mask)
        assert np.array_equal(decode(compressed, mask.shape), mask)


def test_outlines_cover_exactly_the_mask() -> None:
    for mask in random_masks(200):
        assert np.array_equal(decode(mask_to_polygons(mask), mask.shape), mask)


def test_outline_of_a_square_has_four_corners() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:4, 2:7] = True
    (polygon,) = mask_to_polygons(mask)
    corners = sorted(zip(polygon[::2], polygon[1::2], strict=True))
    assert corners == [(2, 1), (2, 4), (7, 1), (7, 4)]


def test_outlines_make_one_part_per_region_and_cut_at_holes() -> None:
    ring = np.ones((5, 5), dtype=bool)
    ring[2, 2] = False
    assert len(mask_to_polygons(ring)) == 2
    diagonal = np.eye(3, dtype=bool)
    assert len(mask_to_polygons(diagonal)) == 3


def test_polygon_parts_are_united() -> None:
    parts = [[0.0, 0, 4, 0, 4, 4, 0, 4], [2.0, 2, 6, 2, 6, 6, 2, 6]]
    assert decode(parts, (8, 8)).sum() == 16 + 16 - 4
    assert not decode([], (8, 8)).any()


@pytest.mark.parametrize("seed", range(20))
def test_clipped_polygon_covers_the_same_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    star = 20 + rng.uniform(5, 30, 9)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    clipped = clip_polygon(star.ravel().tolist(), (40, 32))
    assert min(clipped) >= 0 and max(clipped[::2]) <= 32 and max(clipped[1::2]) <= 40
    shifted = decode([(star + 40).ravel().tolist()], (120, 120))[40:80, 40:72]
    difference = decode([clipped], (40, 32)) ^ shifted
    assert difference.sum() <= 8  # pycocotools rounds corners to a fifth of a pixel, and clipping makes new corners


def test_polygon_outside_is_clipped_away() -> None:
    assert clip_polygon([50.0, 5, 60, 5, 60, 9], (40, 40)) == []


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": [1.5, 2.5]},
        {"size": [0, 2], "counts": []},
        {"size": [2], "counts": [2]},
        {"counts": [4]},
        {"size": [2, 2]},
        {"size": [2, 2], "counts": "\x01"},
        {"size": [2, 2], "counts": "d"},
        {"size": [2, 2], "counts": "00000"},
    ],
)
def test_malformed_run_lengths(rle: dict) -> None:
    with pytest.raises(ValueError, match=r"run.length"):
        rle_counts(rle)
