# SPDX-License-Identifier: Apache-2.0
"""COCO metrics of data sets against pycocotools: boxes, masks, keypoints, crowds; results spread over two ranks."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, Prediction, build_shapes
from ldie.tasks.detection.masks import from_coco
from ldie.tasks.detection.metrics import METRIC_NAMES, coco_metrics
from ldie.tasks.detection.results import coco_detections
from ldie.tasks.detection.tables import metrics_table

from ldie_ext.coco import mask as coco_mask

COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
SCRIPT = Path(__file__).with_name("two_ranks_evaluate.py")


def moved(segmentation, size, rng, pixels):
    """A segmentation with its corners, or as a whole where it is run lengths, moved by about so many pixels."""
    if isinstance(segmentation, list):
        return [(np.array(part) + rng.normal(0, pixels, len(part))).tolist() for part in segmentation]
    shift = tuple(np.round(rng.normal(0, pixels, 2)).astype(int).tolist())
    mask = coco_mask.decode(coco_mask.rasterize([segmentation], *size))[..., 0]
    return coco_mask.encode(np.roll(mask, shift, axis=(0, 1)))


def jittered(sample, annotations, rng, noise):
    """Every object found once or twice, moved by about ``noise`` of its size; some missed, some of another class.

    Scores have two digits, so that many are equal.
    """
    found = [i for i in range(len(sample)) for _ in range(rng.integers(1, 3)) if rng.random() > 0.1]
    boxes, masks = sample.boxes[found].double().numpy(), []
    scales = noise * np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    for i, scale in zip(found, scales):
        mask = annotations[i].segmentation
        form = mask if isinstance(mask, dict) else [part.tolist() for part in mask]
        masks.append(moved(form, sample.size, rng, scale))
    keypoints = sample.keypoints[found].double().numpy()
    keypoints[..., :2] += rng.normal(0, 1, keypoints[..., :2].shape) * scales[:, None, None]
    boxes += rng.normal(0, 1, boxes.shape) * scales[:, None]
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels = torch.where(torch.from_numpy(rng.random(len(found)) < 0.1), 0, sample.labels[found])
    return Prediction(
        torch.from_numpy(boxes).float(), torch.from_numpy(rng.random(len(found)).round(2)).float(),
        labels, from_coco(masks, sample.size), torch.from_numpy(keypoints).float(), sample.size,
        proposals=torch.from_numpy(boxes).float(),
    )  # fmt: skip


def jittered_all(dataset, rng, noise):
    return {
        sample.image_id: jittered(sample, dataset.objects(i), rng, noise)
        for i, sample in ((i, dataset[i]) for i in range(len(dataset)))
    }


def by_pycocotools(dataset, predictions, kind, category_id=None):
    """The evaluation by pycocotools alone, of one category if it is named, and the lines that it prints."""
    fields = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
    keys = ("image_id", "category_id", "score", fields[kind])
    records = list(coco_detections(predictions, dataset.label_to_category_id))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(dataset.keypoint_file if kind == "keypoints" else dataset.annotation_file))
        records = [{key: record[key] for key in keys} for record in records if record["image_id"] in truth.imgs]
        results = truth.loadRes(records)
    evaluator = COCOeval(truth, results, kind)
    evaluator.params.imgIds = truth.getImgIds()  # the file with keypoints leaves out images without people
    if category_id is not None:
        evaluator.params.catIds = [category_id]
    if kind == "keypoints" and (points := len(dataset.keypoint_names)) != len(evaluator.params.kpt_oks_sigmas):
        evaluator.params.kpt_oks_sigmas = np.full(points, 0.05)
        for item in truth.anns.values():  # classes with fewer than others; its code wants as many for all
            item["keypoints"] += [0] * (3 * points - len(item["keypoints"]))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator, [line for line in said.getvalue().splitlines() if "@[" in line]


@pytest.mark.parametrize("split", ["train2017", "val2017"])
@pytest.mark.parametrize("noise", [0.02, 0.05, 0.12])
def test_photographs_score_as_by_pycocotools(photographs, split, noise):
    dataset = CocoDataset(photographs, split)
    rng = np.random.default_rng(round(noise * 100))
    predictions = jittered_all(dataset, rng, noise)
    assert any(annotation.iscrowd for i in range(len(dataset)) for annotation in dataset.objects(i))
    metrics, expected, lines = coco_metrics(dataset, predictions), {}, []
    for kind, names in METRIC_NAMES.items():
        evaluator, printed = by_pycocotools(dataset, predictions, kind)
        expected |= {f"{kind}/{name}": value for name, value in zip(names, evaluator.stats, strict=True)}
        lines += [kind, *printed]
        assert 0.001 < metrics[f"{kind}/AP"] < 0.999
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12, rel=0)
    assert metrics_table(metrics).splitlines() == lines


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks computed, and the predictions and the data they computed it from."""
    out = tmp_path_factory.mktemp("evaluate")
    dataset = CocoDataset(build_shapes(out / "hard", hard=True, train=1, val=9), "val2017")
    rng = np.random.default_rng(0)
    predictions = jittered_all(dataset, rng, 0.05)
    torch.save(predictions, out / "predictions.pt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    command += [str(dataset.root), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dataset, predictions, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("shares", ["halves", "padded", "all on rank 1"])
def test_partial_results_of_two_ranks_score_as_the_whole(ranks, shares):
    dataset, predictions, reports = ranks
    expected = coco_metrics(dataset, predictions)
    for name in ("segm/AP", "proposals/AR100"):
        assert 0.001 < expected[name] < 0.999
    for report in reports:
        assert report[shares] == {"image_ids": dataset.image_ids, "metrics": expected}


def test_an_image_that_no_rank_predicted_is_named(ranks):
    _, _, reports = ranks
    message = "no result for 2 of 9 samples, the first of index 3"
    assert [report["missing"] for report in reports] == [message] * 2
