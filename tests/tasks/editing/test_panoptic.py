# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentations in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ldie.errors import DataError
from ldie.tasks.editing.published.panoptic import PanopticFile, Segment, region_of, two_channel_ids
from PIL import Image

IDS = np.array([[0, 7, 7], [300, 300, 70000]])
CONTENT: dict[str, Any] = {
    "categories": [{"id": 17, "name": "sky-other-merged", "isthing": 0}, {"id": 1, "name": "person", "isthing": 1}],
    "annotations": [
        {
            "image_id": 5,
            "file_name": "5.png",
            "segments_info": [
                {"id": 70000, "category_id": 1},
                {"id": 7, "category_id": 17, "iscrowd": 0},
                {"id": 300, "category_id": 1, "iscrowd": 1},
            ],
        }
    ],
}


def panoptic(folder: Path, ids: np.ndarray = IDS, content: Any = CONTENT) -> Path:
    pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    (folder / "panoptic").mkdir()
    Image.fromarray(pixels).save(folder / "panoptic" / "5.png")
    path = folder / "panoptic.json"
    path.write_text(json.dumps(content))
    return path


def test_regions_by_id(tmp_path: Path) -> None:
    file = PanopticFile(panoptic(tmp_path))
    assert file.class_names == ["person", "sky-other-merged"] and file.image_ids == [5]
    found = file.read(5)
    assert found.segments == (
        Segment(70000, "person", True), Segment(7, "sky-other-merged", False), Segment(300, "person", True, True)
    )  # fmt: skip
    assert torch.equal(found.ids, torch.from_numpy(IDS))
    assert found.masks.tolist() == [(number == IDS).tolist() for number in (70000, 7, 300)]
    assert region_of(found, [7, 300]).tolist() == [[False, True, True], [True, True, False]]


def test_two_channels_are_class_and_instance() -> None:
    channels = torch.tensor([[[0, 3], [255, 0]], [[0, 2], [255, 9]]], dtype=torch.uint8)
    assert two_channel_ids(channels).tolist() == [[0, 3002], [255255, 9]]
    with pytest.raises(DataError, match="channels"):
        two_channel_ids(channels[:1])


@pytest.mark.parametrize(
    ("ids", "message"), [(np.where(IDS == 7, 8, IDS), "not so: 7, 8"), (np.where(IDS == 7, 0, IDS), "not so: 7;")]
)
def test_a_picture_with_other_regions(tmp_path: Path, ids: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PanopticFile(panoptic(tmp_path, ids)).read(5)


def test_files_that_are_none(tmp_path: Path) -> None:
    for content, message in [
        ([], "no list 'categories'"),
        ({"categories": []}, "no list 'annotations'"),
        ({"categories": [{"id": "1", "name": "sky"}]}, r"categories\[0\]: id must be of type int"),
        ({**CONTENT, "annotations": [3]}, r"annotations\[0\]"),
        ({**CONTENT, "annotations": CONTENT["annotations"] * 2}, "twice"),
    ]:
        path = tmp_path / "panoptic.json"
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            PanopticFile(path)
    path.write_text(json.dumps({**CONTENT, "categories": CONTENT["categories"][:1]}))
    with pytest.raises(DataError, match="image 5: a segment needs"):
        PanopticFile(path).read(5)
    with pytest.raises(DataError, match="no image_id 6"):
        PanopticFile(path).read(6)
