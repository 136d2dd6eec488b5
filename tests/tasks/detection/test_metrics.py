# SPDX-License-Identifier: Apache-2.0
import contextlib
import copy
import dataclasses
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, DetectionTask, Prediction, build_shapes
from ldie.tasks.detection.annotations import parse_annotations
from ldie.tasks.detection.masks import from_coco, select
from ldie.tasks.detection.metrics import METRIC_NAMES, coco_metrics
from ldie.tasks.detection.results import coco_detections, write_records
from tasks.detection.coco_files import perfect

coco_mask = pytest.importorskip("pycocotools.mask")
COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
pytest.importorskip("hotcoco")

from ldie.tasks.detection.evaluator import evaluate  # noqa: E402  # needs the package

KINDS = ("bbox", "segm", "keypoints")
CATEGORY_IDS = [2, 5]
KEYPOINTS = 17
SIDE = 200


def make_truth(rng, images=6, points=KEYPOINTS):
    annotations = []
    for image_id in range(1, images):  # the last image has no objects
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.uniform(0, SIDE / 2, 2)
            w, h = rng.uniform(6, SIDE / 2, 2)
            places = [rng.uniform(x, x + w, points), rng.uniform(y, y + h, points), np.full(points, 2)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": CATEGORY_IDS[int(rng.integers(2))],
                "bbox": [x, y, w, h], "area": 0.8 * w * h, "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + 0.6 * h]],
                "keypoints": np.stack(places, 1).flatten().tolist(), "num_keypoints": points,
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
        "categories": [{"id": i, "name": str(i), "keypoints": ["p"] * points, "skeleton": []} for i in CATEGORY_IDS],
        "annotations": annotations,
    }


def make_predictions(truth, rng, noise):
    """The truth, jittered, some of it lost or of another class, and some false ones."""
    predictions, count = {}, len(truth["categories"][0]["keypoints"])
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
            torch.from_numpy(np.array(keypoints).reshape(-1, count, 3)).float(),
            (SIDE, SIDE),
        )
    return predictions


def nothing(truth):
    """No objects in any image."""
    count = len(truth["categories"][0]["keypoints"])
    empty = Prediction(
        torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.int64), from_coco([], (SIDE, SIDE)),
        torch.empty(0, count, 3), (SIDE, SIDE),
    )  # fmt: skip
    return {image["id"]: dataclasses.replace(empty) for image in truth["images"]}


def parsed(truth):
    return parse_annotations(truth, Path("truth.json"))


def oracle(truth, predictions, kind, sigmas=None):
    """pycocotools' evaluation; its classes have no results without records."""
    records = coco_detections(predictions, CATEGORY_IDS)
    fields = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
    results = [{key: record[key] for key in ("image_id", "category_id", "score", fields[kind])} for record in records]
    with contextlib.redirect_stdout(io.StringIO()):
        coco, found = COCO(), COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        if results:
            found = coco.loadRes(results)
        else:
            found.dataset = {**truth, "annotations": []}
            found.createIndex()
        evaluator = COCOeval(coco, found, kind)
        evaluator.params.imgIds = list(predictions)
        if sigmas is not None:
            evaluator.params.kpt_oks_sigmas = np.array(sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def assert_same(truth, predictions, kind, sigmas=None):
    """Summary and curves of every threshold, class, size and limit; returns the evaluation."""
    ours, theirs = evaluate(parsed(truth), predictions, kind, CATEGORY_IDS), oracle(truth, predictions, kind, sigmas)
    assert len(ours.stats) == len(METRIC_NAMES[kind])
    np.testing.assert_allclose(ours.stats, theirs.stats, rtol=0, atol=1e-9)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_allclose(ours.eval[name], theirs.eval[name], rtol=0, atol=1e-9, err_msg=name)
    return ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_numbers_and_curves_are_those_of_pycocotools(kind, noise):
    rng = np.random.default_rng(int(noise * 100))
    truth = make_truth(rng)
    predictions = make_predictions(truth, rng, noise)
    for count in (len(predictions), 3):
        some = dict(list(predictions.items())[:count])
        assert 0 < assert_same(truth, some, kind).stats[0] <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_ties_crowds_and_sizes_on_the_border_are_decided_as_by_pycocotools(kind, seed):
    rng = np.random.default_rng(seed)
    truth = make_truth(rng, images=8)
    ids = rng.permutation(1000)[: len(truth["annotations"])] + 1
    for annotation, id in zip(truth["annotations"], ids.tolist()):
        annotation["id"] = id
        annotation["area"] = float(rng.choice([0, 32**2 - 1e-9, 32**2, 32**2 + 1e-9, 96**2, annotation["area"]]))
        annotation["iscrowd"] = int(annotation["iscrowd"] or rng.random() < 0.2)
        annotation["num_keypoints"] = int(rng.choice([0, KEYPOINTS]))
    truth["annotations"] = [truth["annotations"][i] for i in rng.permutation(len(ids))]
    moved = rng.permutation(100_000)[: len(truth["images"])].tolist()
    for entry in (*truth["images"], *truth["annotations"]):  # ids of images in another order than the file's
        key = "image_id" if "image_id" in entry else "id"
        entry[key] = moved[entry[key] - 1]
    predictions = make_predictions(truth, rng, 0.1)
    for prediction in predictions.values():
        prediction.scores = torch.round(prediction.scores, decimals=1)
        twins = torch.arange(len(prediction.boxes)) // 2 * 2  # every second is the one before
        prediction.boxes = prediction.boxes[twins]
    assert_same(truth, predictions, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_hundred_best_of_an_image_count(kind):
    truth = make_truth(np.random.default_rng(0))
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    for prediction in predictions.values():
        rows = torch.arange(len(prediction.boxes)).repeat(30)
        prediction.scores = prediction.scores[rows] / (1 + torch.arange(len(rows)) // max(len(prediction.boxes), 1))
        prediction.boxes, prediction.labels = prediction.boxes[rows], prediction.labels[rows]
        prediction.masks, prediction.keypoints = select(prediction.masks, rows), prediction.keypoints[rows]
    assert (
        max(int(prediction.labels.bincount().max()) for prediction in predictions.values() if len(prediction.boxes))
        > 100
    )
    assert_same(truth, predictions, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_predictions_at_all(kind):
    truth = make_truth(np.random.default_rng(0))
    stats = assert_same(truth, nothing(truth), kind).stats
    assert stats[0] == 0.0 and set(stats) <= {0.0, -1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_no_truth_is_minus_one(kind):
    truth = make_truth(np.random.default_rng(0))
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    for some in (nothing(truth), predictions):
        assert set(assert_same({**truth, "annotations": []}, some, kind).stats) == {-1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_is_minus_one(kind):
    truth = make_truth(np.random.default_rng(0))
    assert set(evaluate(parsed(truth), {}, kind, CATEGORY_IDS).stats) == {-1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_truth_does_not_count(kind, capfd):
    truth = make_truth(np.random.default_rng(0))
    truth["annotations"] = [item for item in truth["annotations"] if item["category_id"] == CATEGORY_IDS[0]]
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    expected = assert_same(truth, predictions, kind)
    assert (expected.eval["precision"][:, :, 1] == -1).all()
    truth["categories"] = truth["categories"][:1]  # as a file of keypoints has only people
    stats = evaluate(parsed(truth), predictions, kind, CATEGORY_IDS).stats
    np.testing.assert_allclose(stats, expected.stats, rtol=0, atol=1e-12)
    assert capfd.readouterr() == ("", "")


def test_ids_beyond_c_numbers_are_evaluated():
    truth = make_truth(np.random.default_rng(0))
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    expected = evaluate(parsed(truth), predictions, "bbox", CATEGORY_IDS).stats
    far = {image["id"]: (-1) ** image["id"] * 10**40 + image["id"] for image in truth["images"]}
    for image in truth["images"]:
        image["id"] = far[image["id"]]
    for number, annotation in enumerate(truth["annotations"]):
        annotation |= {"image_id": far[annotation["image_id"]], "id": -number}
    moved = {far[id]: prediction for id, prediction in predictions.items()}
    np.testing.assert_allclose(evaluate(parsed(truth), moved, "bbox", CATEGORY_IDS).stats, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("points", [4, 17, 20])
def test_other_keypoint_counts_have_the_curves_of_their_sigma(points):
    truth = make_truth(np.random.default_rng(0), points=points)
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = assert_same(truth, predictions, "keypoints", None if points == 17 else [0.05] * points)
    assert 0 < result.stats[0] < 1


def test_other_keypoint_counts_use_one_sigma_for_all():
    # one point off by a tenth of the object's size, the other exact: OKS = (1 + exp(-1/2)) / 2 = 0.803
    annotation = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 100, 100], "area": 100.0**2, "iscrowd": 0}
    annotation |= {"keypoints": [10, 10, 2, 50, 50, 2], "num_keypoints": 2}
    truth = {"images": [{"id": 1, "width": SIDE, "height": SIDE}], "categories": []}
    truth["images"][0]["file_name"] = "a.png"
    truth["categories"] = [{"id": 2, "name": "a", "keypoints": ["nose", "tail"]}]
    keypoints = torch.tensor([[[10.0, 10.0, 1.0], [60.0, 50.0, 1.0]]])
    found = Prediction(torch.zeros(1, 4), torch.ones(1), torch.zeros(1).long(), None, keypoints, (SIDE, SIDE))
    stats = evaluate(parsed({**truth, "annotations": [annotation]}), {1: found}, "keypoints", CATEGORY_IDS).stats
    assert stats[0] == pytest.approx(7 / 10)  # thresholds 0.50 to 0.80 of 0.50 to 0.95


@pytest.mark.parametrize("kind", ["bbox", "keypoints"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_a_miss(kind, value):
    truth = make_truth(np.random.default_rng(0))
    truth["annotations"] = truth["annotations"][:1]
    (annotation,) = truth["annotations"]
    x, y, w, h = annotation["bbox"]
    right = Prediction(
        torch.tensor([[x, y, x + w, y + h]] * 2), torch.tensor([0.9, 0.5]),
        torch.tensor([CATEGORY_IDS.index(annotation["category_id"])] * 2), None,
        torch.tensor(annotation["keypoints"]).reshape(1, -1, 3).repeat(2, 1, 1), (SIDE, SIDE),
    )  # fmt: skip
    for coordinate in range(4):
        broken = copy.deepcopy(right)
        broken.boxes[0, coordinate] = broken.keypoints[0, coordinate, coordinate % 2] = value
        result = evaluate(parsed(truth), {1: broken}, kind, CATEGORY_IDS)
        ap, recall = result.stats[0], result.eval["recall"].max()
        assert (ap, recall) == (pytest.approx(0.5), 1.0)  # the better one is a false alarm, the other is right


def test_a_score_that_is_no_number_ranks_last():
    truth = make_truth(np.random.default_rng(0))
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    for prediction in predictions.values():
        prediction.scores[::3] = float("nan")
    result, expected = evaluate(parsed(truth), predictions, "bbox", CATEGORY_IDS), oracle(truth, predictions, "bbox")
    np.testing.assert_allclose(result.eval["precision"], expected.eval["precision"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("segm", {"masks": None}, "found in image 1 have no masks"),
        ("keypoints", {"keypoints": None}, "found in image 1 have no keypoints"),
        (
            "bbox",
            {"size": (SIDE, SIDE + 1)},
            r"image 1 is of size \(200, 200\), but its prediction is for one of \(200, 201\)",
        ),
    ],
)
def test_predictions_that_cannot_be_compared_are_named(kind, change, message):
    truth = make_truth(np.random.default_rng(0))
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    predictions[1] = dataclasses.replace(predictions[1], **change)
    with pytest.raises(ValueError, match=message):
        evaluate(parsed(truth), predictions, kind, CATEGORY_IDS)


def test_the_evaluation_prints_nothing(capfd):
    truth = make_truth(np.random.default_rng(0))
    predictions = make_predictions(truth, np.random.default_rng(1), 0.05)
    for kind in KINDS:
        evaluate(parsed(truth), predictions, kind, CATEGORY_IDS)
    assert capfd.readouterr() == ("", "")


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


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_records_are_written_as_one_list(tmp_path, count):
    records = [{"number": number, "bbox": [0.5, number]} for number in range(count)]
    write_records(tmp_path / "detections.json", iter(records))
    assert (tmp_path / "detections.json").read_text() == json.dumps(records)


def test_a_list_of_records_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_records(tmp_path / "detections.json", ({"a": 1 / (2000 - n)} for n in range(3000)))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Crowds, empty images, classes with three, four and no keypoints."""
    root = build_shapes(tmp_path_factory.mktemp("data") / "hard", hard=True, train=1, val=40)
    return CocoDataset(root, "val2017")


def test_the_truth_scores_one_on_every_kind(hard):
    samples = [hard[i] for i in range(len(hard))]
    assert any(sample.iscrowd.any() for sample in samples) and any(len(sample) == 0 for sample in samples)
    found = {sample.image_id: perfect(sample) for sample in samples}
    metrics = coco_metrics(hard, {id: dataclasses.replace(each, proposals=each.boxes) for id, each in found.items()})
    ours = {"bbox/duplicates", *(f"proposals/{name}" for name in ("AR50", "AR100", "AR1000", "ARs", "ARm", "ARl"))}
    assert metrics.keys() == {f"{kind}/{name}" for kind, names in METRIC_NAMES.items() for name in names} | ours
    for name in ("bbox/AP", "bbox/AR100", "segm/AP", "segm/AR100", "keypoints/AP", "keypoints/AR", "proposals/AR100"):
        assert metrics[name] == pytest.approx(1.0)
    assert metrics["bbox/duplicates"] == 0
    headline = {f"{kind}/{name}" for kind in KINDS for name in ("AP", "AP50", "AP75")}
    recall = {"bbox/AR100", "segm/AR100", "keypoints/AR", "proposals/AR100"}
    assert DetectionTask().headline(metrics).keys() == headline | recall


def test_kinds_that_were_not_predicted_are_left_out(hard):
    samples = [hard[i] for i in range(3)]
    predictions = {s.image_id: dataclasses.replace(perfect(s), masks=None, keypoints=None) for s in samples}
    metrics = coco_metrics(hard, predictions)
    assert metrics.keys() == {f"bbox/{name}" for name in (*METRIC_NAMES["bbox"], "duplicates")}
    assert metrics["bbox/AP"] == pytest.approx(1.0)


def test_a_prediction_without_proposals_among_others_with_some_is_refused(hard):
    samples = [hard[i] for i in range(3)]
    predictions = {s.image_id: dataclasses.replace(perfect(s), proposals=s.boxes) for s in samples}
    predictions[samples[1].image_id].proposals = None
    with pytest.raises(ValueError, match=f"image {samples[1].image_id} has no proposals, but others do"):
        coco_metrics(hard, predictions)


def test_files_of_results_do_not_hold_proposals(hard, tmp_path):
    plain = perfect(hard[0])
    proposing = dataclasses.replace(plain, proposals=torch.rand(1000, 4))
    assert list(coco_detections({1: proposing}, [1, 2, 3, 4])) == list(coco_detections({1: plain}, [1, 2, 3, 4]))
