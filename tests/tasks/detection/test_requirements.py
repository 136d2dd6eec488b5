# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
from ldie.tasks.detection import CocoDataset, build_shapes
from ldie.tasks.detection.catalog import part_of
from ldie.tasks.detection.requirements import require
from tasks.detection.coco_files import CONTENT, message, write

MASKS, POINTS = "model.mask_head.enabled=false", "model.keypoint_head.enabled=false"


def opened(root, change=lambda content: None, **limits):
    content = copy.deepcopy(CONTENT)
    change(content)
    write(root, content)
    return part_of(CocoDataset(root, "train2017"), **limits)


def with_points(content, seen=2, categories=1):
    for category in content["categories"][:categories]:
        category |= {"keypoints": ["nose", "tail"], "skeleton": []}
    content["annotations"][0] |= {"keypoints": [3, 3, seen, 0, 0, 0], "num_keypoints": int(seen > 0)}


def without_mask(*ids):
    def change(content):
        for item in content["annotations"]:
            if item["id"] in ids:
                del item["segmentation"]

    return change


def test_data_that_has_all_passes(tmp_path):
    require(opened(tmp_path / "masks"), masks=MASKS)
    require(opened(tmp_path / "points", with_points), masks=MASKS, keypoints=POINTS)
    shapes = build_shapes(tmp_path / "shapes", train=8, val=1)
    require(CocoDataset(shapes, "train2017"), masks=MASKS, keypoints=POINTS)


def test_what_is_not_needed_may_be_missing(tmp_path):
    require(opened(tmp_path, without_mask(1, 2, 3)))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([2], "1 of 3 objects have no segmentation to learn masks from (annotations 2)"),
        ([1, 2, 3], "3 of 3 objects have no segmentation to learn masks from (annotations 1, 2, 3)"),
    ],
)
def test_objects_without_masks_are_counted_and_named(tmp_path, missing, said):
    dataset = opened(tmp_path, without_mask(*missing))
    text = message(lambda: require(dataset, masks=MASKS))
    assert text == f"{dataset.annotation_file}: {said}; add it, or set {MASKS}"


def test_categories_without_keypoints(tmp_path):
    dataset = opened(tmp_path)
    text = message(lambda: require(dataset, keypoints=POINTS))
    assert text.startswith(f"{dataset.annotation_file}: its categories (person, dog) have no keypoints; ")
    assert text.endswith(f"here or in annotations/person_keypoints_train2017.json, or set {POINTS}")


def no_points(content):
    with_points(content)
    for item in content["annotations"]:
        item.pop("keypoints", None)
        item.pop("num_keypoints", None)


def points_of_a_crowd(content):
    with_points(content, seen=0, categories=2)
    content["annotations"][2] |= {"keypoints": [3, 3, 2, 4, 4, 2], "num_keypoints": 2}


@pytest.mark.parametrize("change", [lambda content: with_points(content, seen=0), no_points, points_of_a_crowd])
def test_keypoints_that_no_object_has(tmp_path, change):
    dataset = opened(tmp_path, change)
    text = message(lambda: require(dataset, keypoints=POINTS))
    said = "no object has a labelled keypoint (nose, tail) in 2 images; label some, or set"
    assert text == f"{dataset.annotation_file}: {said} {POINTS}"


def test_the_file_with_keypoints_is_named(tmp_path):
    root = tmp_path
    write(root, CONTENT)
    content = copy.deepcopy(CONTENT)
    with_points(content, seen=0)
    file = write(root, content, kind="person_keypoints")
    text = message(lambda: require(CocoDataset(root, "train2017"), keypoints=POINTS))
    assert text.startswith(f"{file}: no object has a labelled keypoint")


def test_one_crowd_as_the_only_object(tmp_path):
    dataset = opened(tmp_path, lambda content: content.update(annotations=[content["annotations"][2]]))
    text = message(lambda: require(dataset))
    assert text.startswith(f"{dataset.annotation_file}: has no object to learn from in 2 images, only 1 crowd; ")


def test_no_object_at_all(tmp_path):
    dataset = opened(tmp_path, lambda content: content.update(annotations=[]))
    for needed in ({}, {"masks": MASKS}, {"keypoints": POINTS}):
        text = message(lambda needed=needed: require(dataset, **needed))
        assert text.startswith(f"{dataset.annotation_file}: has no object to learn from in 2 images, none; ")


def test_only_the_images_to_train_on_count(tmp_path):
    dataset = opened(tmp_path, lambda content: content["images"].reverse())
    require(dataset)
    text = message(lambda: require(part_of(dataset, limit=1)))
    assert "has no object to learn from in 1 image, none; " in text


def test_a_data_set_without_images_is_refused_when_it_is_opened(tmp_path):
    text = message(lambda: opened(tmp_path, lambda content: content.update(images=[], annotations=[])))
    assert text.endswith("instances_train2017.json: images is empty; give a data set with some")
