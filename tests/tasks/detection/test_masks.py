"""Masks as polygons and run lengths, against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldie.tasks.detection.annotations import run_lengths
from ldie.tasks.detection.contours import mask_to_polygons
from ldie.tasks.detection.masks import clip_polygon, from_coco, select, to_bitmaps, to_coco, to_rle

from ldie_ext import RLE


def random_masks(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(rng.integers(1, 30, 2)) < rng.choice([0.0, 0.2, 0.5, 0.97, 1.0]) for _ in range(count)]


def decode(parts: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    return to_bitmaps(from_coco([parts], size), size)[0].numpy()


def test_every_form_of_run_lengths_is_read_and_written_as_by_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    for mask in random_masks(200):
        compressed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        text = compressed | {"counts": compressed["counts"].decode()}
        counts = from_coco([compressed], mask.shape).counts.tolist()
        for form in (compressed, text, {"size": list(mask.shape), "counts": counts}):
            masks = from_coco([form], mask.shape)
            assert np.array_equal(to_bitmaps(masks, mask.shape)[0], mask)
            assert to_coco(masks, mask.shape) == [text]


def test_polygons_beside_run_lengths_become_run_lengths() -> None:
    square, run_lengths = [[10.0, 5.0, 30.0, 5.0, 30.0, 15.0, 10.0, 15.0]], {"size": [20, 40], "counts": [100, 700]}
    masks = from_coco([square, run_lengths], (20, 40))
    assert isinstance(masks, RLE)
    alone = to_bitmaps(from_coco([square], (20, 40)), (20, 40))
    assert torch.equal(to_bitmaps(masks, (20, 40))[:1], alone)
    assert to_coco(from_coco([square], (20, 40)), (20, 40)) == to_coco(masks, (20, 40))[:1]


@pytest.mark.parametrize("as_rle", [False, True])
def test_selected_masks_are_those_of_the_rows(as_rle: bool) -> None:
    parts = [[[0.0, 0, 4, 0, 4, 4]], [], [[1.0, 1, 3, 1, 3, 3, 1, 3], [5.0, 5, 7, 5, 7, 7]], [[2.0, 2, 8, 2, 8, 8]]]
    masks = from_coco(parts, (8, 8))
    if as_rle:
        masks = to_rle(masks, (8, 8))
    for rows in ([], [2], [3, 0, 2], [1, 1]):
        expected = to_bitmaps(masks, (8, 8))[rows]
        chosen = select(masks, torch.tensor(rows, dtype=torch.int64))
        assert len(chosen) == len(rows) and torch.equal(to_bitmaps(chosen, (8, 8)), expected)


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
        run_lengths(rle)
