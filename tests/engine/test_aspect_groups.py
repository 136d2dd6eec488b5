# SPDX-License-Identifier: Apache-2.0
"""dataset.aspect_grouping: batches of wide or of tall images, the same after a resume and over ranks."""

from __future__ import annotations

import json
from itertools import islice

import pytest
import torch
from engine.toy import ToyConfig, ToyRecipe
from ldie.config import override
from ldie.engine import distributed
from ldie.engine.loader import training_batches
from ldie.errors import ConfigError
from ldie.tasks.detection import CocoDataset
from PIL import Image

GROUPED = ["dataset.aspect_grouping=true", "solver.batch_size=2"]


class Shapes(ToyRecipe):
    """What reaches a training step of a system that takes images of any shape."""

    def __init__(self, config):
        self.config = config

    def transform(self, sample, rng):
        return sample.image_id, sample.image.shape[1] > sample.image.shape[2], float(rng.random())

    def collate(self, items):
        return items


@pytest.fixture
def data(tmp_path):
    """Nine images, every third of them tall."""
    images = [{"id": i, "file_name": f"{i}.png", "height": 4 + 4 * (i % 3 == 0), "width": 6} for i in range(1, 10)]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "dog"}]}
    for folder in ("annotations", "train"):
        (tmp_path / folder).mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    for image in images:
        Image.new("RGB", (image["width"], image["height"])).save(tmp_path / "train" / image["file_name"])
    return CocoDataset(tmp_path, "train")


def steps(data, count, *assignments, step=0):
    config = override(ToyConfig(), assignments)
    return list(islice(training_batches(data, Shapes(config), config, step, torch.device("cpu")), count))


def test_batches_are_of_wide_or_of_tall_images(data):
    assert data.groups == [0, 0, 1] * 3 and data.subset([2, 0]).groups == [1, 0]
    batches = steps(data, 36, *GROUPED)
    shapes = [{tall for _, tall, _ in batch} for batch in batches]
    assert all(len(kinds) == 1 for kinds in shapes) and shapes.count({True}) == 12
    mixed = steps(data, 36, "solver.batch_size=2")
    assert any(len({tall for _, tall, _ in batch}) == 2 for batch in mixed)  # unless it is asked for


def test_a_resume_goes_on_with_the_same_batches(data):
    batches = steps(data, 24, *GROUPED)
    for step in (1, 9, 17):
        assert steps(data, 24 - step, *GROUPED, step=step) == batches[step:]  # augmentation included


def test_ranks_share_one_group(data, monkeypatch):
    alone = steps(data, 20, "dataset.aspect_grouping=true", "solver.batch_size=4")
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        ranks.append(steps(data, 20, *GROUPED))
    assert [sorted(a + b) for a, b in zip(*ranks)] == [sorted(batch) for batch in alone]


def test_data_without_shapes_is_one_line():
    with pytest.raises(ConfigError, match="needs data of images; set it to false"):
        steps([1, 2, 3], 1, *GROUPED)
