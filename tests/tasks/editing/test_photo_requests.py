# SPDX-License-Identifier: Apache-2.0
"""Requests for photographs: what they name is there once, and the answer is what the steps make."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ldie.errors import ConfigError, DataError
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.shapes import build_shapes
from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.synedit.coco_scenes import coco_scenes
from ldie.tasks.editing.synedit.photo_requests import PhotoRequests
from ldie.tasks.editing.synedit.request_draws import RequestChoice
from ldie.tasks.editing.synedit.scene import Scene

from ldie_ext import EditOp


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Scene]]:
    root = build_shapes(tmp_path_factory.mktemp("data") / "shapes", train=30, val=1, size=64)
    return list(coco_scenes(CocoDataset(root, "train2017")))


def test_answers_of_a_folder_with_annotations(scenes: list[tuple[str, Scene]]) -> None:
    data = PhotoRequests(scenes, RequestChoice(local=1))
    assert len(data) == 30 and data.requests() == [data[i].request for i in range(30)]
    assert [data[i].key for i in range(30)] == [name for name, _ in scenes]
    local = 0
    for i, (_, scene) in enumerate(scenes):
        sample = data[i]
        assert torch.equal(replayed(sample.source, sample.steps, sample.region), sample.target)
        if sample.region is not None:
            local += 1
            (named,) = (
                i for i, mask in enumerate(scene.masks) if mask.equal(sample.region) or mask.equal(~sample.region)
            )
            assert scene.objects[named].name in sample.request
    assert local > 10


def test_requests_are_of_their_seed_and_split(scenes: list[tuple[str, Scene]]) -> None:
    assert PhotoRequests(scenes[:9]).requests() == PhotoRequests(scenes).requests()[:9]
    others = [
        PhotoRequests(scenes, seed=1),
        PhotoRequests(scenes, split="val"),
        PhotoRequests(scenes, split="paraphrase"),
    ]
    texts = [tuple(data.requests()) for data in (PhotoRequests(scenes), *others)]
    assert len(set(texts)) == 4
    assert PhotoRequests(scenes, RequestChoice((EditOp.BLUR,), (1, 1))).operators == ("BLUR",)


def test_what_cannot_be(scenes: list[tuple[str, Scene]]) -> None:
    with pytest.raises(DataError, match="scenes: there are no pictures"):
        PhotoRequests([])
    with pytest.raises(ConfigError, match="split must be one of"):
        PhotoRequests(scenes, split="test")


def test_photographs(photographs: Path) -> None:
    dataset = CocoDataset(photographs, "val2017")
    scenes = [scene for scene, _ in zip(coco_scenes(dataset, 64), range(12), strict=False)]
    data = PhotoRequests(scenes, RequestChoice(local=1))
    assert any(data[i].region is not None for i in range(12))
    for i in range(12):
        assert torch.equal(replayed(data[i].source, data[i].steps, data[i].region), data[i].target)
