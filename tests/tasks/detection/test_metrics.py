# SPDX-License-Identifier: Apache-2.0
import contextlib
import copy
import dataclasses
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, Prediction, build_shapes
from ldie.tasks.detection.annotations import parse_annotations
from ldie.tasks.detection.masks import from_coco
from ldie.tasks.detection.metrics import METRIC_NAMES, coco_metrics, coco_stats
from ldie.tasks.detection.results import coco_detections
from tasks.detection.coco_files import perfect

from ldie_ext.coco import mask as ldie_mask

coco_mask = pytest.importorskip("pycocotools.mask")
COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
faster_mask = pytest.importorskip("faster_coco_eval.core.mask")

CATEGORY_IDS = [2, 5]
KEYPOINTS = 17
SIDE = 200


def make_truth(rng, images=6):
    annotations = []
    for image_id in range(1, images):  # the last image has no objects
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.uniform(0, SIDE / 2, 2)
            w, h = rng.uniform(6, SIDE / 2, 2)
            points = np.stack(
                [rng.uniform(x, x + w, KEYPOINTS), rng.uniform(y, y + h, KEYPOINTS), np.full(KEYPOINTS, 2)], 1
            )
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": CATEGORY_IDS[int(rng.integers(2))],
                "bbox": [x, y, w, h], "area": 0.8 * w * h, "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + 0.6 * h]],
                "keypoints": points.flatten().tolist(), "num_keypoints": KEYPOINTS,
            })  # fmt: skip
    crowd = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    crowd[120:, 120:] = 1
    annotations[-1] |= {
        "iscrowd": 1,
        "bbox": [120, 120, 80, 80],
        "segmentation": coco_mask.encode(crowd),
    }
    annotations[-1]["segmentation"]["counts"] = annotations[-1]["segmentation"]["counts"].decode()
    return {
        "images": [{"id": i, "width": SIDE, "height": SIDE, "file_name": f"{i}.png"} for i in range(1, images + 1)],
        "categories": [{"id": i, "name": str(i), "keypoints": ["p"] * KEYPOINTS, "skeleton": []} for i in CATEGORY_IDS],
        "annotations": annotations,
    }


def make_predictions(truth, rng, noise):
    """The truth, jittered, some of it lost or of another class, and some false ones."""
    predictions = {}
    for image in truth["images"]:
        boxes, labels, masks, keypoints = [], [], [], []
        for annotation in truth["annotations"]:
            if annotation["image_id"] != image["id"] or rng.random() < 0.15:
                continue
            for _ in range(2):
                x, y, w, h = annotation["bbox"] + rng.normal(0, noise, 4) * annotation["bbox"][2]
                w, h = max(w, 2), max(h, 2)
                boxes.append([x, y, x + w, y + h])
                labels.append(CATEGORY_IDS.index(annotation["category_id"]) ^ int(rng.random() < 0.1))
                masks.append([[x, y, x + w, y, x + w, y + h, x, y + 0.6 * h]])
                points = np.array(annotation["keypoints"]).reshape(-1, 3)
                points[:, :2] += rng.normal(0, noise * 20, points[:, :2].shape)
                keypoints.append(points)
        predictions[image["id"]] = Prediction(
            torch.tensor(boxes).reshape(-1, 4).float(),
            torch.from_numpy(rng.random(len(boxes))).float(),
            torch.tensor(labels, dtype=torch.int64),
            from_coco(masks, (SIDE, SIDE)),
            torch.from_numpy(np.array(keypoints).reshape(-1, KEYPOINTS, 3)).float(),
            (SIDE, SIDE),
        )
    return predictions


def parsed(truth):
    return parse_annotations(truth, Path("truth.json"))


def oracle(truth, detections, kind, image_ids):
    """pycocotools' summary."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        fields = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
        results = [{k: r[k] for k in ("image_id", "category_id", "score", fields[kind])} for r in detections]
        evaluator = COCOeval(coco, coco.loadRes(results), kind)
        evaluator.params.imgIds = list(image_ids)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_numbers_are_those_of_pycocotools(kind, noise):
    rng = np.random.default_rng(int(noise * 100))
    truth = make_truth(rng)
    predictions = make_predictions(truth, rng, noise)
    detections = coco_detections(predictions, CATEGORY_IDS)
    image_ids = [image["id"] for image in truth["images"]]
    for ids in (image_ids, image_ids[:3]):
        some = [record for record in detections if record["image_id"] in ids]
        stats = coco_stats(parsed(truth), some, kind, ids)
        assert len(stats) == len(METRIC_NAMES[kind])
        np.testing.assert_allclose(stats, oracle(truth, some, kind, ids), rtol=0, atol=1e-12)
        assert 0 < stats[0] <= 1


def test_masks_are_compared_by_ldie_ext_alone(monkeypatch):
    # the evaluator's own routines would find no mask: what it computes itself may change from release to release
    calls = []
    iou = ldie_mask.iou
    monkeypatch.setattr(ldie_mask, "iou", lambda *arguments: calls.append(arguments) or iou(*arguments))
    monkeypatch.setattr(faster_mask, "iou", None)
    truth = make_truth(np.random.default_rng(0))
    detections = coco_detections(make_predictions(truth, np.random.default_rng(1), 0.05), CATEGORY_IDS)
    stats = coco_stats(parsed(truth), detections, "segm", [image["id"] for image in truth["images"]])
    assert 0 < stats[0] <= 1
    pairs = {(record["image_id"], record["category_id"]) for record in truth["annotations"]}
    assert len(calls) >= len(pairs & {(record["image_id"], record["category_id"]) for record in detections}) > 0


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_only_the_hundred_best_of_an_image_count(kind):
    truth = make_truth(np.random.default_rng(0))
    detections = coco_detections(make_predictions(truth, np.random.default_rng(1), 0.05), CATEGORY_IDS)
    image_ids = [image["id"] for image in truth["images"]]
    many = [{**record, "score": record["score"] / (1 + n)} for n in range(30) for record in detections]
    assert max(Counter((record["image_id"], record["category_id"]) for record in many).values()) > 100
    expected = oracle(truth, many, kind, image_ids)
    np.testing.assert_allclose(coco_stats(parsed(truth), many, kind, image_ids), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_no_predictions_at_all(kind):
    truth = make_truth(np.random.default_rng(0))
    stats = coco_stats(parsed(truth), [], kind, [image["id"] for image in truth["images"]])
    assert stats[0] == 0.0 and set(stats) <= {0.0, -1.0}


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_no_truth_is_minus_one(kind):
    truth = make_truth(np.random.default_rng(0))
    detections = coco_detections(make_predictions(truth, np.random.default_rng(1), 0.05), CATEGORY_IDS)
    truth["annotations"] = []
    for found in ([], detections):
        assert set(coco_stats(parsed(truth), found, kind, [1, 2])) == {-1.0}


def test_classes_without_objects_change_nothing():
    truth = make_truth(np.random.default_rng(0))
    detections = coco_detections(make_predictions(truth, np.random.default_rng(1), 0.05), CATEGORY_IDS)
    expected = coco_stats(parsed(truth), detections, "bbox", range(1, 7))
    truth["categories"] += [{"id": id, "name": "rare"} for id in range(1, 900) if id not in CATEGORY_IDS]
    assert coco_stats(parsed(truth), detections, "bbox", range(1, 7)) == expected


def test_other_keypoint_counts_use_one_sigma_for_all():
    # one point off by a tenth of the object's size, the other exact: OKS = (1 + exp(-1/2)) / 2 = 0.803
    annotation = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 100, 100], "area": 100.0**2, "iscrowd": 0}
    annotation |= {"keypoints": [10, 10, 2, 50, 50, 2], "num_keypoints": 2}
    truth = {"images": [{"id": 1, "width": SIDE, "height": SIDE}], "categories": []}
    truth["images"][0]["file_name"] = "a.png"
    truth["categories"] = [{"id": 2, "name": "a", "keypoints": ["nose", "tail"]}]
    result = {"image_id": 1, "category_id": 2, "score": 1.0, "keypoints": [10, 10, 1, 60, 50, 1]}
    stats = coco_stats(parsed({**truth, "annotations": [annotation]}), [result], "keypoints", [1])
    assert stats[0] == pytest.approx(7 / 10)  # thresholds 0.50 to 0.80 of 0.50 to 0.95


def test_detections_are_plain_coco_records():
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    mask[10:20, 30:50] = 1
    prediction = Prediction(
        torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([0.5]), torch.tensor([1]),
        from_coco([coco_mask.encode(mask)], mask.shape), torch.tensor([[[1.0, 2.0, 0.5]]]), (SIDE, SIDE),
    )  # fmt: skip
    (record,) = coco_detections({9: prediction}, CATEGORY_IDS)
    assert record["image_id"] == 9 and record["category_id"] == 5 and record["bbox"] == [1.0, 2.0, 3.0, 6.0]
    assert record["keypoints"] == [1.0, 2.0, 0.5] and isinstance(record["segmentation"]["counts"], str)
    np.testing.assert_array_equal(coco_mask.decode(record["segmentation"]), mask)


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Crowds, empty images, classes with three, four and no keypoints."""
    root = build_shapes(tmp_path_factory.mktemp("data") / "hard", hard=True, train=1, val=40)
    return CocoDataset(root, "val2017")


def test_the_truth_scores_one_on_every_kind(hard):
    samples = [hard[i] for i in range(len(hard))]
    assert any(sample.iscrowd.any() for sample in samples) and any(len(sample) == 0 for sample in samples)
    metrics = coco_metrics(hard, {sample.image_id: perfect(sample) for sample in samples})
    assert metrics.keys() == {f"{kind}/{name}" for kind, names in METRIC_NAMES.items() for name in names}
    for name in ("bbox/AP", "bbox/AR100", "segm/AP", "segm/AR100", "keypoints/AP", "keypoints/AR"):
        assert metrics[name] == pytest.approx(1.0)


def test_kinds_that_were_not_predicted_are_left_out(hard):
    samples = [hard[i] for i in range(3)]
    predictions = {s.image_id: dataclasses.replace(perfect(s), masks=None, keypoints=None) for s in samples}
    metrics = coco_metrics(hard, predictions)
    assert metrics.keys() == {f"bbox/{name}" for name in METRIC_NAMES["bbox"]}
    assert metrics["bbox/AP"] == pytest.approx(1.0)
