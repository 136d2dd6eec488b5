# SPDX-License-Identifier: Apache-2.0
"""COCO's metrics of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.results import coco_detections
from ldie.tasks.detection.sample import Prediction

Kind = Literal["bbox", "segm", "keypoints"]

_BOX_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
METRIC_NAMES: dict[Kind, tuple[str, ...]] = {
    "bbox": _BOX_STATS,
    "segm": _BOX_STATS,
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
}

_FIELDS: dict[Kind, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_BODY_POINTS = 17
_OTHER_SIGMA = 0.05
"""For other points: an error of a tenth of the object's size (square root of its area) counts exp(-1/2) = 0.61."""


def coco_metrics(dataset: CocoDataset, predictions: Mapping[Any, Prediction]) -> dict[str, float]:
    """Box metrics, and those of masks and keypoints where predictions carry them.

    Args:
        dataset: Its annotation file is the truth.
        predictions: By image id; empty ones are legal. Only these images count.

    Returns:
        ``bbox/AP``, ``bbox/AP50``, ... in 0..1; -1 where there is no truth to find, as COCO's code has it.
    """
    detections = coco_detections(predictions, dataset.label_to_category_id)
    image_ids = list(predictions)
    files: dict[Kind, Path] = {"bbox": dataset.annotation_file}
    if dataset.has_masks and any(prediction.masks is not None for prediction in predictions.values()):
        files["segm"] = dataset.annotation_file
    if dataset.keypoint_file and any(prediction.keypoints is not None for prediction in predictions.values()):
        files["keypoints"] = dataset.keypoint_file
    truths = {file: json.loads(file.read_text(encoding="utf-8")) for file in set(files.values())}
    metrics: dict[str, float] = {}
    for kind, file in files.items():
        stats = coco_stats(truths[file], detections, kind, image_ids)
        metrics |= {f"{kind}/{name}": value for name, value in zip(METRIC_NAMES[kind], stats)}
    return metrics


def coco_stats(
    truth: dict[str, Any], detections: Sequence[dict[str, Any]], kind: Kind, image_ids: Sequence[int]
) -> list[float]:
    """COCO's summary for boxes, masks or keypoints, in the order of ``METRIC_NAMES``.

    Args:
        truth: Content of a COCO annotation file; it is not changed.
        detections: COCO result records, possibly none.
        kind: What is compared.
        image_ids: The images that were predicted. Those that ``truth`` does not list (a file of keypoints may leave out
            images without people) do not count, nor does what was detected there.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # only COCO's metrics need it

    from ldie.tasks.detection.mask_evaluator import MaskEvaluator

    listed = {image["id"] for image in truth["images"]}
    # the evaluator takes a detection's area from its box if it has one, so keypoints come without
    fields = ("image_id", "category_id", "score", _FIELDS[kind])
    results = [{key: record[key] for key in fields} for record in detections if record["image_id"] in listed]
    points = max((len(annotation.get("keypoints", ())) // 3 for annotation in truth["annotations"]), default=0)
    annotations = [_complete(annotation, points) for annotation in truth["annotations"]]
    ground_truth = COCO({**truth, "annotations": annotations})
    evaluator: COCOeval_faster
    if kind == "segm":
        evaluator = MaskEvaluator(ground_truth, results)
    else:
        sigmas = [_OTHER_SIGMA] * points if points != _BODY_POINTS else None  # None: COCO's own
        evaluator = COCOeval_faster(ground_truth, ground_truth.loadRes(results), kind, kpt_oks_sigmas=sigmas)
    evaluator.params.imgIds = [image_id for image_id in image_ids if image_id in listed]
    evaluator.run()
    return [float(value) for value in evaluator.all_stats[: len(METRIC_NAMES[kind])]]


def _complete(annotation: dict[str, Any], points: int) -> dict[str, Any]:
    """A copy with what the evaluator needs and files may leave out; missing keypoints fill up as not labelled."""
    _, _, width, height = annotation["bbox"]
    keypoints = list(annotation.get("keypoints", ()))
    seen = sum(visibility > 0 for visibility in keypoints[2::3])
    return {
        "iscrowd": 0,
        "area": width * height,
        "num_keypoints": seen,
        **annotation,
        "keypoints": keypoints + [0] * (3 * points - len(keypoints)),
    }
