# SPDX-License-Identifier: Apache-2.0
"""Some of the categories, some of the images: what is learned, what is saved with a model, what is evaluated."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ldie.config import RunConfig, override
from ldie.errors import ConfigError
from ldie.tasks.detection import TASK, CocoDataset, open_splits
from ldie.tasks.detection.metrics import coco_metrics
from tasks.detection.coco_files import CONTENT, Content, message, perfect, write
from tasks.detection.test_truth import NAMES, POINTS, with_points


def opened(root: Path, *assignments: str, splits: tuple[str, ...] = ("train2017", "val2017")) -> list[CocoDataset]:
    return TASK.open(override(RunConfig(), [f"dataset.root={root}", *assignments]), splits)


def many_images() -> Content:
    """Four images: a dog, nothing, a person, a crowd of persons."""
    content = copy.deepcopy(CONTENT)
    content["images"] = [{"id": id, "file_name": "a.png", "height": 10, "width": 12} for id in (1, 2, 3, 4)]
    for annotation, image_id in zip(content["annotations"], (1, 3, 4)):
        annotation["image_id"] = image_id
    return content


def write_both(root: Path, content: Content) -> None:
    for split in ("train2017", "val2017"):
        write(root, content, split=split)


def test_categories_become_labels_in_their_order(tmp_path: Path) -> None:
    write_both(tmp_path, CONTENT)
    for dataset in opened(tmp_path, "dataset.categories=dog,person"):
        facts = TASK.facts(dataset)
        assert facts["classes"] == ["dog", "person"] and facts["category_ids"] == [18, 1]
        assert dataset[0].labels.tolist() == [0, 1, 1]


def test_objects_of_other_categories_do_not_exist(tmp_path: Path) -> None:
    write_both(tmp_path, CONTENT)
    train, val = opened(tmp_path, "dataset.categories=dog")
    assert TASK.facts(val) | {"classes": ["dog"], "category_ids": [18]} == TASK.facts(val)
    assert train.image_ids == [7, 3]  # their images do
    assert train[0].labels.tolist() == [0] and train[0].boxes.tolist() == [[2, 2, 6, 6]]
    assert not train[0].iscrowd.any() and len(train.objects(0)) == 1
    metrics = coco_metrics(val, {7: perfect(val[0]), 3: perfect(val[1])})
    assert metrics["bbox/AP"] == metrics["segm/AP"] == pytest.approx(1)
    missed = coco_metrics(val, {7: perfect(val[0].select(torch.tensor([], dtype=torch.int64))), 3: perfect(val[1])})
    assert missed["bbox/AP"] == 0  # not -1: there is a dog


@pytest.mark.parametrize("own_file", [False, True])
def test_keypoints_go_with_their_category(own_file: bool, tmp_path: Path) -> None:
    content = with_points(keypoints=POINTS)
    if own_file:
        write(tmp_path, CONTENT)
        people = content | {"categories": content["categories"][1:], "annotations": content["annotations"][1:2]}
        write(tmp_path, people, kind="person_keypoints")
    else:
        write(tmp_path, content)
    (people,) = open_splits(tmp_path, ["train2017"], ["person"])
    assert people.keypoint_names == tuple(NAMES) and people[0].keypoints[0].flatten().tolist() == POINTS
    metrics = coco_metrics(people, {7: perfect(people[0]), 3: perfect(people[1])})
    assert metrics["keypoints/AP"] == pytest.approx(1)
    (dogs,) = open_splits(tmp_path, ["train2017"], ["dog"])
    assert dogs.keypoint_names == () and dogs.keypoint_file is None and dogs[0].keypoints is None


def test_masks_count_when_the_categories_taken_have_them(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    del content["annotations"][1]["segmentation"]  # of a person
    write(tmp_path, content)
    assert [CocoDataset(tmp_path, "train2017", [name]).has_masks for name in ("dog", "person")] == [True, False]


def test_names_that_are_not_one_category(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    text = message(lambda: CocoDataset(tmp_path, "train2017", ["persn"]))
    assert text.endswith("instances_train2017.json: has no category 'persn'; did you mean 'person'?")
    assert "'zebra'; did you mean 'dog', 'person'?" in message(lambda: CocoDataset(tmp_path, "train2017", ["zebra"]))
    text = message(lambda: CocoDataset(tmp_path, "train2017", ["dog", "dog"]))
    assert "category 'dog' is in dataset.categories twice" in text
    content = copy.deepcopy(CONTENT)
    content["categories"].append({"id": 20, "name": "dog"})
    write(tmp_path, content)
    assert len(CocoDataset(tmp_path, "train2017").categories) == 3
    assert "category 'dog' is in the file twice" in message(lambda: CocoDataset(tmp_path, "train2017", ["dog"]))


def test_images_to_train_on(tmp_path: Path) -> None:
    write_both(tmp_path, many_images())
    parts = {
        "dataset.limit=0": [1, 2, 3, 4],
        "dataset.limit=3": [1, 2, 3],
        "dataset.limit=9": [1, 2, 3, 4],
        "dataset.drop_empty=true": [1, 3],  # a crowd is nothing to learn
        "dataset.drop_empty=true dataset.limit=1": [1],
        "dataset.drop_empty=true dataset.categories=person": [3],
    }
    for assignments, ids in parts.items():
        train, val = opened(tmp_path, *assignments.split())
        assert train.image_ids == ids and [train[i].image_id for i in range(len(train))] == ids
        assert val.image_ids == [1, 2, 3, 4]  # metrics of other images would be other metrics


def test_what_is_trained_and_evaluated_on_is_one_part(tmp_path: Path) -> None:
    write(tmp_path, many_images())
    train, val = opened(tmp_path, "dataset.val=train2017", "dataset.limit=2", splits=("train2017", "train2017"))
    assert train.image_ids == val.image_ids == [1, 2]
    assert coco_metrics(val, {i: perfect(val[i - 1]) for i in (1, 2)})["bbox/AP"] == pytest.approx(1)


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    content = many_images()
    write_both(tmp_path, content | {"annotations": content["annotations"][1:]})
    text = message(lambda: opened(tmp_path, "dataset.drop_empty=true", "dataset.categories=dog"))
    assert text.endswith("no image has an object of dog; set dataset.drop_empty=false or other dataset.categories")


def test_a_model_and_other_data_agree_by_the_names_taken(tmp_path: Path) -> None:
    write_both(tmp_path, CONTENT)
    _, val = opened(tmp_path, "dataset.categories=dog")
    facts = TASK.facts(val)
    other = copy.deepcopy(CONTENT)
    other["categories"][0]["id"] = 5
    other["annotations"][0]["category_id"] = 5
    write(tmp_path / "other", other, split="val2017")
    (same,) = opened(tmp_path / "other", "dataset.categories=dog", splits=("val2017",))
    TASK.check(same, facts, "run")
    (all_of_it,) = opened(tmp_path / "other", splits=("val2017",))
    assert "evaluate on data with the same categories" in message(lambda: TASK.check(all_of_it, facts, "run"))


def test_values_of_the_keys() -> None:
    config = override(RunConfig(), ["dataset.categories=traffic light, dog", "DATASET.LIMIT=5"])
    assert config.dataset == replace(RunConfig().dataset, categories=("traffic light", "dog"), limit=5)
    for wrong in ("dataset.categories=1,2", "dataset.limit=-1", "dataset.drop_empty=maybe"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
            override(RunConfig(), [wrong])
