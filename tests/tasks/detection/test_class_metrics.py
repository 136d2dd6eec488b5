# SPDX-License-Identifier: Apache-2.0
"""AP of single classes against pycocotools, asked about one category at a time; tables of metrics."""

import json

import numpy as np
import pytest
from ldie.tasks.detection import TASK, CocoDataset, build_shapes
from ldie.tasks.detection.metrics import METRIC_NAMES, coco_metrics
from ldie.tasks.detection.tables import metrics_table
from tasks.detection.coco_files import CONTENT, perfect, write
from tasks.detection.test_coco_evaluation import by_pycocotools, jittered_all
from tasks.detection.test_truth import POINTS, with_points

evaluator = pytest.importorskip("ldie.tasks.detection.evaluator")
EMPTY = {"id": 77, "name": "hexagon"}


def found_in(dataset):
    return jittered_all(dataset, np.random.default_rng(0), 0.05)


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Crowds, a class that has no keypoints, another that has no objects at all."""
    root = build_shapes(tmp_path_factory.mktemp("data") / "hard", hard=True, train=1, val=9)
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].append(EMPTY)
    path.write_text(json.dumps(content))
    return CocoDataset(root, "val2017")


@pytest.fixture(scope="module")
def metrics(hard):
    return coco_metrics(hard, found_in(hard), per_class=True)


@pytest.mark.parametrize("kind", METRIC_NAMES)
def test_class_metrics_are_those_of_pycocotools_for_one_category(hard, metrics, kind):
    for id, name in zip(hard.label_to_category_id, hard.class_names):
        expected, _ = by_pycocotools(hard, found_in(hard), kind, category_id=id)
        images = expected.evalImgs[: len(expected.params.imgIds)]  # of all sizes, which come first
        objects = sum(int(np.sum(image["gtIgnore"] == 0)) for image in images if image)
        assert metrics[f"{kind}/AP-{name}"] == pytest.approx(expected.stats[0], abs=1e-12, rel=0)
        assert metrics[f"{kind}/AP50-{name}"] == pytest.approx(expected.stats[1], abs=1e-12, rel=0)
        assert metrics[f"{kind}/objects-{name}"] == objects


@pytest.mark.parametrize("kind", METRIC_NAMES)
def test_classes_without_objects_are_left_out_of_the_mean(metrics, kind):
    of_classes = {name: metrics[name] for name in metrics if name.startswith(f"{kind}/AP-")}
    without = [name for name, value in of_classes.items() if value == -1]
    assert without == [f"{kind}/AP-{name}" for name in (["circle"] if kind == "keypoints" else []) + [EMPTY["name"]]]
    assert np.mean([value for value in of_classes.values() if value != -1]) == pytest.approx(metrics[f"{kind}/AP"])


def test_single_classes_cost_no_second_evaluation_and_change_no_other_metric(hard, metrics, monkeypatch):
    kinds = []
    original = evaluator.evaluate
    monkeypatch.setattr(evaluator, "evaluate", lambda *args: kinds.append(args[2]) or original(*args))
    again = TASK.metrics(hard, found_in(hard), detailed=True)
    assert again == metrics and kinds == list(METRIC_NAMES)
    short = TASK.metrics(hard, found_in(hard))
    assert short.items() <= metrics.items() and len(short) == 12 + 12 + 10 + 1 + 6
    assert TASK.headline(metrics) == TASK.headline(short)


def test_only_images_that_were_evaluated_count(hard):
    predictions = dict(list(found_in(hard).items())[:3])
    metrics = coco_metrics(hard, predictions, per_class=True)
    for id, name in zip(hard.label_to_category_id, hard.class_names):
        objects = [item for i in range(3) for item in hard.objects(i) if item.category_id == id and not item.iscrowd]
        assert metrics[f"bbox/objects-{name}"] == len(objects)


def test_classes_come_in_the_order_of_the_labels(hard):
    dataset = CocoDataset(hard.root, "val2017", ["triangle", "circle"])
    metrics = coco_metrics(dataset, {s.image_id: perfect(s) for s in (dataset[i] for i in range(9))}, per_class=True)
    assert [name for name in metrics if "/AP-" in name][:2] == ["bbox/AP-triangle", "bbox/AP-circle"]
    assert [line.split()[-1] for line in metrics_table(metrics).splitlines()[-3:]] == ["class", "triangle", "circle"]


def test_classes_of_one_name_are_told_apart_by_their_ids(tmp_path):
    write(tmp_path, {**CONTENT, "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "dog"}]})
    dataset = CocoDataset(tmp_path, "train2017")
    metrics = coco_metrics(dataset, {s.image_id: perfect(s) for s in (dataset[0], dataset[1])}, per_class=True)
    assert {name: metrics[name] for name in metrics if "objects" in name and "bbox" in name} == {
        "bbox/objects-dog (id 1)": 1, "bbox/objects-dog (id 18)": 1,
    }  # fmt: skip
    assert metrics["bbox/AP-dog (id 1)"] == pytest.approx(1)


def test_classes_that_the_file_of_keypoints_does_not_list_have_none(tmp_path):
    write(tmp_path, CONTENT)
    people = with_points(keypoints=POINTS)
    people |= {"categories": people["categories"][1:], "annotations": people["annotations"][1:2]}
    write(tmp_path, people, kind="person_keypoints")
    dataset = CocoDataset(tmp_path, "train2017")
    metrics = coco_metrics(dataset, {s.image_id: perfect(s) for s in (dataset[0], dataset[1])}, per_class=True)
    assert metrics["bbox/objects-dog"] == metrics["keypoints/objects-person"] == 1
    assert metrics["keypoints/AP-dog"] == metrics["keypoints/AP50-dog"] == -1 and metrics["keypoints/objects-dog"] == 0
    assert metrics["keypoints/AP-person"] == pytest.approx(1) == metrics["keypoints/AP"]


def test_the_lines_are_those_that_pycocotools_prints(hard):
    lines = [[kind, *by_pycocotools(hard, found_in(hard), kind)[1]] for kind in METRIC_NAMES]
    assert [len(part) for part in lines] == [13, 13, 11]
    assert metrics_table(coco_metrics(hard, found_in(hard))) == "\n".join("\n".join(part) for part in lines)


def test_the_table_has_a_line_for_each_class():
    metrics = {
        "bbox/AP": 0.25, "bbox/AR1": -1.0, "bbox/AP-red": 0.5, "bbox/AP50-red": 0.75, "bbox/objects-red": 12,
        "bbox/AP-a/AP\n": -1.0, "bbox/AP50-a/AP\n": -1.0, "bbox/objects-a/AP\n": 0,
        "keypoints/AP-red": 0.125, "keypoints/AP50-red": 1.0, "keypoints/objects-red": 3,
        "keypoints/AP-a/AP\n": 0.0, "keypoints/AP50-a/AP\n": 0.0, "keypoints/objects-a/AP\n": 1,
    }  # fmt: skip
    assert metrics_table(metrics).splitlines() == [
        "bbox",
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.250",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = -1.000",
        "       bbox AP    AP50  objects  keypoints AP    AP50  objects  class",
        "         0.500   0.750       12         0.125   1.000        3  red",
        "             -       -        0         0.000   0.000        1  a/AP",
    ]
    assert TASK.headline(metrics) == {"bbox/AP": 0.25}  # whatever classes are called
    assert metrics_table({}) == ""
