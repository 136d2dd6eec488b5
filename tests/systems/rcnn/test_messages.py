# SPDX-License-Identifier: Apache-2.0
"""Data, checkpoints and weights that do not fit R-CNN: each is one line on what to do, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine.command import error_line
from ldie.cli import main
from ldie.engine.trainer import Trainer
from ldie.systems.centernet import SYSTEM as CENTERNET
from ldie.tasks.detection import CocoDataset
from systems.centernet.helpers import small_config as centernet_config
from systems.changed_data import Content, changed_copy
from systems.rcnn.helpers import CPU, make_shapes, make_trainer

TRAIN = "annotations/instances_train2017.json"
ONE_STEP = ["solver.max_iter=1", "solver.batch_size=2", "model.backbone.widths=[8,8,8]", "model.box_head.channel=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data in shapes/, and a run on it in run/."""
    folder = tmp_path_factory.mktemp("place")
    data = make_shapes(folder)
    make_trainer(data, folder / "run", solver={"max_iter": 1}, dataset={"root": str(folder / "shapes")}).run()
    return folder


@pytest.fixture
def variant(place: Path, tmp_path: Path) -> Callable[[Callable[[Content], object]], Path]:
    """Makes a folder with the same data, but for what a function changes in each annotation file."""
    return lambda change: changed_copy(place / "shapes", tmp_path / "data", change)


def without_masks(content: Content) -> None:
    for item in content["annotations"]:
        del item["segmentation"]


def without_keypoints(content: Content) -> None:
    for item in content["annotations"]:
        del item["keypoints"], item["num_keypoints"]
    for category in content["categories"]:
        del category["keypoints"]
        category.pop("skeleton", None)


def without_labelled_keypoints(content: Content) -> None:
    for item in content["annotations"]:
        item |= {"keypoints": [0] * len(item["keypoints"]), "num_keypoints": 0}


def one_crowd(content: Content) -> None:
    crowd = {"iscrowd": 1, "segmentation": {"size": [64, 64], "counts": [100, 50, 64 * 64 - 150]}}
    content["annotations"] = [content["annotations"][0] | crowd]


def no_objects(content: Content) -> None:
    content["annotations"] = []


def no_images(content: Content) -> None:
    content.update(images=[], annotations=[])


def other_classes(content: Content) -> None:
    for category, name in zip(content["categories"], ("cat", "dog", "cow")):
        category["name"] = name


def two_classes(content: Content) -> None:
    content["categories"].pop()
    ids = [category["id"] for category in content["categories"]]
    content["annotations"] = [item for item in content["annotations"] if item["category_id"] in ids]


def two_keypoints(content: Content) -> None:
    for category in content["categories"]:
        category |= {"keypoints": category["keypoints"][:2], "skeleton": []}
    for item in content["annotations"]:
        item["keypoints"] = item["keypoints"][:6]
        item["num_keypoints"] = sum(seen > 0 for seen in item["keypoints"][2::3])


CANNOT_BE_LEARNED = [
    (without_masks, "have no segmentation to learn masks from", "add it, or set model.mask_head.enabled=false"),
    (without_keypoints, "its categories (circle, square, triangle) have no keypoints", "set model.keypoint_head."),
    (without_labelled_keypoints, "no object has a labelled keypoint (top, right, bottom, ...)", "label some, or set"),
    (one_crowd, "has no object to learn from in 6 images, only 1 crowd", "annotate single objects, or choose other"),
    (no_objects, "has no object to learn from in 6 images, none", "annotate single objects, or choose other images"),
    (no_images, "images is empty", "give a data set with some"),
]


@pytest.mark.parametrize(("change", "wrong", "remedy"), CANNOT_BE_LEARNED)
def test_data_that_cannot_be_learned(change, wrong, remedy, variant, tmp_path, capsys) -> None:
    data, run = variant(change), tmp_path / "run"
    command = ["train", "rcnn", "--data", data, "--work-dir", run, "--device", "cpu", "--set", *ONE_STEP]
    line = error_line(capsys, command)
    assert line.startswith(f"ldie: {data / TRAIN}: ") and wrong in line and remedy in line.partition("; ")[2]
    assert not any(run.iterdir())


@pytest.mark.parametrize(
    ("change", "head", "metrics"),
    [(without_masks, "mask_head", {"bbox", "keypoints"}), (without_keypoints, "keypoint_head", {"bbox", "segm"})],
)
def test_the_named_setting_trains(change, head, metrics, variant, tmp_path) -> None:
    """What the line advises is enough, and what there is no head for is not measured."""
    command = ["train", "rcnn", "--data", variant(change), "--work-dir", tmp_path / "run", "--device", "cpu"]
    assert main([*map(str, command), "--set", *ONE_STEP, f"model.{head}.enabled=false"]) == 0
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {name.partition("/")[0] for name in found} == {*metrics, "proposals"}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (other_classes, "classes cat, dog, cow differ from those of {run}: circle, square, triangle; "),
        (two_keypoints, "keypoints top, right differ from those of {run}: top, right, bottom, left; "),
        (no_images, "images is empty; "),
    ],
)
def test_data_that_it_cannot_be_evaluated_on(change, wrong, place, variant, tmp_path, capsys) -> None:
    data, run = variant(change), place / "run"
    line = error_line(capsys, ["eval", run, "--data", data, "--out", tmp_path / "eval", "--device", "cpu"])
    weights = run / "checkpoints/best.safetensors"
    assert line.startswith(f"ldie: {data / 'annotations/instances_val2017.json'}: {wrong.format(run=weights)}")
    assert not any((tmp_path / "eval").iterdir())


@pytest.mark.parametrize("change", [without_masks, without_keypoints, one_crowd, no_objects])
def test_data_with_less_to_find_is_evaluated(change, place, variant, tmp_path) -> None:
    command = ["eval", place / "run", "--data", variant(change), "--out", tmp_path / "eval", "--device", "cpu"]
    assert main(list(map(str, command))) == 0
    found = json.loads((tmp_path / "eval/metrics.json").read_text())
    gone = {without_masks: "segm/AP", without_keypoints: "keypoints/AP"}.get(change)
    assert gone not in found
    assert (found["bbox/AP"] == -1) == (change in (one_crowd, no_objects))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_classes, "other classes"),
        (two_classes, "other classes, category_ids"),
        (two_keypoints, "other keypoints, flip_pairs"),
    ],
)
def test_a_run_goes_on_with_its_own_data_only(change, what, place, variant, capsys) -> None:
    """Numbers of the networks that only follow from the data are no keys that somebody has changed."""
    data = variant(change)
    line = error_line(capsys, ["train", "rcnn", "--resume", "--work-dir", place / "run", "--data", data])
    assert line.startswith(f"ldie: dataset.root: {data} is not the data of this run ({what}")
    assert line.endswith("; give that, or train anew in another --work-dir")


def test_a_checkpoint_of_another_system(place, tmp_path, capsys) -> None:
    """Neither does R-CNN go on with it or start from it, nor CenterNet with one of R-CNN's."""
    config = centernet_config(solver={"max_iter": 1}, dataset={"root": str(place / "shapes")})
    splits = [CocoDataset(place / "shapes", split) for split in ("train2017", "val2017")]
    Trainer(CENTERNET, replace(config, output_dir=str(tmp_path / "other")), *splits, CPU).run()
    file = tmp_path / "other/checkpoints/step_0000001.safetensors"
    line = error_line(capsys, ["train", "rcnn", "--resume", "--work-dir", tmp_path / "other"])
    assert line == f"ldie: {file} is of system centernet, not rcnn; name that one"
    line = error_line(capsys, ["train", "centernet", "--resume", "--work-dir", place / "run"])
    assert line.endswith(" is of system rcnn, not centernet; name that one")
    command = ["train", "rcnn", "--data", place / "shapes", "--work-dir", tmp_path / "run", "--device", "cpu"]
    line = error_line(capsys, [*command, "--set", *ONE_STEP, f"solver.pretrained={file}"])
    assert line.startswith(f"ldie: {file}: none of its ") and "weights fits; use another file" in line
