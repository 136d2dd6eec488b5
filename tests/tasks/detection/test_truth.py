# SPDX-License-Identifier: Apache-2.0
"""What is evaluated is what was parsed: the truth, given back as the prediction, scores 1 whatever its ids and form."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.systems import get_system
from ldie.tasks.detection import CocoDataset, DataError, Prediction
from ldie.tasks.detection.metrics import coco_metrics
from tasks.detection.coco_files import CONTENT, SQUARE, Content, message, perfect, write

NAMES = ["nose", "left_eye", "right_eye"]
POINTS = [3, 3, 2, 4, 3, 1, 3, 5, 2]


def perfect_metrics(dataset: CocoDataset) -> dict[str, float]:
    """Metrics of the samples' own objects."""
    samples = (dataset[i] for i in range(len(dataset)))
    return coco_metrics(dataset, {sample.image_id: perfect(sample) for sample in samples})


def check_perfect(metrics: dict[str, float], *kinds: str) -> None:
    assert {name.partition("/")[0] for name in metrics} == set(kinds)
    for kind in kinds:
        assert metrics[f"{kind}/AP"] == pytest.approx(1)
        assert metrics[f"{kind}/{'AR' if kind == 'keypoints' else 'AR100'}"] == pytest.approx(1)


def with_points(**values: Any) -> Content:
    """A file whose persons have three keypoints, with some keys of the first person's entry replaced."""
    content = copy.deepcopy(CONTENT)
    content["categories"][1]["keypoints"] = NAMES
    content["annotations"][1] |= values
    return content


@pytest.mark.parametrize("first", [0, -1, -(2**63), 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**80])
@pytest.mark.parametrize("kind", ["annotations", "images", "categories"])
def test_ids_may_be_any_integers(tmp_path: Path, kind: str, first: int) -> None:
    content = copy.deepcopy(CONTENT)
    old = [item["id"] for item in content[kind]]
    new = dict(zip(old, range(first, first + len(old))))
    for item in content[kind]:
        item["id"] = new[item["id"]]
    key = {"images": "image_id", "categories": "category_id"}.get(kind)
    for item in content["annotations"]:
        item |= {key: new[item[key]]} if key else {}
    write(tmp_path, content)
    check_perfect(perfect_metrics(CocoDataset(tmp_path, "train2017")), "bbox", "segm")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_files_of_any_form(tmp_path: Path, encoding: str) -> None:
    content = copy.deepcopy(CONTENT)
    content["categories"][0]["name"] = "собака"
    path = write(tmp_path, content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    dataset = CocoDataset(tmp_path, "train2017")
    assert dataset.class_names == ["person", "собака"]
    check_perfect(perfect_metrics(dataset), "bbox", "segm")


def test_text_of_a_legacy_encoding_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, CONTENT)
    path.write_text(json.dumps(CONTENT).replace("dog", "Dachshündin"), encoding="latin-1")
    assert "not text in UTF-8, UTF-16 or UTF-32" in message(lambda: CocoDataset(tmp_path, "train2017"))


def test_a_key_of_two_values_is_named(tmp_path: Path) -> None:
    text = json.dumps(CONTENT)
    same = text.replace('"iscrowd": 1', '"iscrowd": 1, "iscrowd": 1')
    write(tmp_path, same)
    assert len(CocoDataset(tmp_path, "train2017")) == 2
    write(tmp_path, text.replace('"iscrowd": 1', '"iscrowd": 1, "iscrowd": 0'))
    expected = "the key 'iscrowd' has the values 1 and 0 in one object (id 3)"
    assert expected in message(lambda: CocoDataset(tmp_path, "train2017"))


@pytest.mark.parametrize("key", ["area", "iscrowd", "keypoints", "num_keypoints", "segmentation"])
def test_null_says_nothing(tmp_path: Path, key: str) -> None:
    content = with_points(keypoints=POINTS)
    content["annotations"].pop()
    content["categories"][0] |= {"keypoints": None, "skeleton": None}
    for annotation in content["annotations"]:
        annotation[key] = None
    write(tmp_path, content)
    metrics = perfect_metrics(CocoDataset(tmp_path, "train2017"))
    if key == "keypoints":
        assert metrics.pop("keypoints/AP") == -1
        metrics = {name: value for name, value in metrics.items() if not name.startswith("keypoints")}
    kinds = {"bbox", "segm", "keypoints"} - {{"segmentation": "segm"}.get(key, key)}
    check_perfect(metrics, *kinds)


@pytest.mark.parametrize(
    "entry",
    [{}, {"keypoints": []}, {"keypoints": None}, {"keypoints": [0] * 9, "num_keypoints": 0}, {"num_keypoints": 2}],
    ids=str,
)
def test_keypoints_that_no_object_has_are_not_to_be_found(tmp_path: Path, entry: dict[str, Any]) -> None:
    write(tmp_path, with_points(**entry))
    metrics = perfect_metrics(CocoDataset(tmp_path, "train2017"))
    assert {value for name, value in metrics.items() if name.startswith("keypoints")} == {-1.0}
    check_perfect({name: value for name, value in metrics.items() if "key" not in name}, "bbox", "segm")


def test_images_that_the_keypoint_file_leaves_out_do_not_count(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["image_id"] = 3  # the dog, alone on the other image
    write(tmp_path, content)
    people = with_points(keypoints=POINTS)
    people |= {"categories": people["categories"][1:], "annotations": people["annotations"][1:2]}
    people["images"] = people["images"][:1]
    write(tmp_path, people, kind="person_keypoints")
    dataset = CocoDataset(tmp_path, "train2017")
    check_perfect(perfect_metrics(dataset), "bbox", "segm", "keypoints")
    person = torch.tensor(POINTS).float().reshape(1, 3, 3)
    empty = Prediction(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), None, torch.zeros(0, 3, 3), (10, 12))
    sample = dataset[0].select(torch.tensor([1]))
    found = Prediction(sample.boxes, torch.ones(1), sample.labels, None, person, sample.size)
    for elsewhere in (empty, found):
        metrics = coco_metrics(dataset, {7: found, 3: elsewhere})
        assert metrics["keypoints/AP"] == pytest.approx(1)


def test_two_files_whose_ids_disagree_are_named(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    people = with_points(keypoints=POINTS)
    people["annotations"] = [people["annotations"][1] | {"id": 1}]
    write(tmp_path, people, kind="person_keypoints")
    text = message(lambda: CocoDataset(tmp_path, "train2017"))
    assert "person_keypoints_train2017.json: annotation 1 is of another image or category" in text
    people["annotations"][0]["id"] = 2
    people["images"][0]["height"] = 11
    write(tmp_path, people, kind="person_keypoints")
    assert "image 7 has another size than in the instances file" in message(lambda: CocoDataset(tmp_path, "train2017"))


@pytest.mark.parametrize(
    "parts",
    [[SQUARE, [1, 1, 9, 8]], [[1, 1, 9, 8], SQUARE], [[5, 5], SQUARE], [SQUARE, []]],
    ids=["two points last", "two points first", "one point", "none"],
)
def test_parts_that_enclose_nothing_are_left_out_everywhere(tmp_path: Path, parts: list[list[float]]) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["segmentation"] = parts
    write(tmp_path, content)
    dataset = CocoDataset(tmp_path, "train2017")
    assert [part.tolist() for part in dataset.objects(0)[0].segmentation or ()] == [SQUARE]
    check_perfect(perfect_metrics(dataset), "bbox", "segm")


def test_an_object_that_encloses_nothing_is_missed(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["segmentation"] = [[1, 1, 9, 8]]
    write(tmp_path, content)
    metrics = perfect_metrics(CocoDataset(tmp_path, "train2017"))
    assert metrics["segm/AP"] == pytest.approx(0.5) and metrics["bbox/AP"] == pytest.approx(1)


@pytest.mark.parametrize(("area", "size"), [(16, "s"), (40**2, "m"), (100**2, "l"), (1e300, None), (None, "s")])
def test_the_area_of_the_file_is_the_size_class(tmp_path: Path, area: float | None, size: str | None) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"] = [content["annotations"][0] | {"area": area}]
    write(tmp_path, content)
    metrics = perfect_metrics(CocoDataset(tmp_path, "train2017"))
    found = {name: metrics[f"bbox/AP{name}"] for name in "sml"}
    assert found == {name: pytest.approx(1) if name == size else -1 for name in "sml"}


def test_models_of_other_keypoints_are_refused(tmp_path: Path) -> None:
    write(tmp_path, with_points(keypoints=POINTS))
    task = get_system("centernet").task
    dataset = CocoDataset(tmp_path, "train2017")
    facts = {"classes": dataset.class_names, "keypoints": NAMES}
    task.check(dataset, facts, "run")
    task.check(dataset, facts | {"keypoints": []}, "run")
    with pytest.raises(DataError, match=r"keypoints nose, left_eye, right_eye differ from those of run: nose, tail;"):
        task.check(dataset, facts | {"keypoints": ["nose", "tail"]}, "run")
