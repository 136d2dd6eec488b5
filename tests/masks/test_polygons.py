"""Polygons as tensors: from COCO's lists, and what is refused."""

from __future__ import annotations

import pytest
import torch

import ldie_ext

SQUARE = [0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0]


def test_from_coco_keeps_instances_and_parts() -> None:
    polygons = ldie_ext.Polygons.from_coco([[SQUARE], [], [SQUARE[:6], SQUARE]])
    assert len(polygons) == 3
    assert polygons.instance_offsets.tolist() == [0, 1, 1, 3]
    assert polygons.part_offsets.tolist() == [0, 4, 7, 11]
    assert polygons.coords.flatten().tolist() == SQUARE + SQUARE[:6] + SQUARE


def test_no_instances() -> None:
    polygons = ldie_ext.Polygons.from_coco([])
    assert len(polygons) == 0
    assert polygons.coords.shape == (0, 2)


@pytest.mark.parametrize("part", [[1.0], [1, 2, float("nan"), 4], [1, float("inf")], [[1, 2], [3, 4]], ["a", "b"], 3])
def test_bad_part_is_named(part: object) -> None:
    with pytest.raises(ValueError, match=r"segmentations\[1\]\[0\] must be a flat list .* of finite numbers"):
        ldie_ext.Polygons.from_coco([[SQUARE], [part]])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": torch.zeros(4, 2)}, "coords must be float64"),
        ({"coords": torch.zeros(8, dtype=torch.float64)}, "coords must be float64"),
        ({"part_offsets": torch.zeros(0, dtype=torch.int64)}, "part_offsets must be int64"),
        ({"instance_offsets": torch.zeros(2)}, "instance_offsets must be int64"),
        ({"instance_offsets": torch.zeros(2, dtype=torch.int64, device="meta")}, "instance_offsets is on meta"),
    ],
)
def test_bad_tensors_are_named(change: dict[str, torch.Tensor], message: str) -> None:
    fields = {
        "coords": torch.zeros(4, 2, dtype=torch.float64),
        "part_offsets": torch.tensor([0, 4]),
        "instance_offsets": torch.tensor([0, 1]),
    }
    with pytest.raises(ValueError, match=message):
        ldie_ext.Polygons(**{**fields, **change})
