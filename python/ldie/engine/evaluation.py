# SPDX-License-Identifier: Apache-2.0
"""COCO metrics of predictions, gathered over ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ldie.data import CocoDataset, Prediction
from ldie.data.segmentation import Segmentation
from ldie.engine import distributed
from ldie.engine.loader import evaluation_batches
from ldie.engine.system import System
from ldie_ext.coco import mask as coco_mask

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


@dataclass(frozen=True)
class Evaluation:
    """Metrics and the predictions they were computed from."""

    metrics: dict[str, float]
    predictions: list[Prediction]
    """Of all ranks, in the order of the dataset."""


def evaluate(system: System, dataset: CocoDataset, batch_size: int, num_workers: int = 0) -> Evaluation:
    """Predicts the whole dataset and computes the system's metrics; the same result on every rank.

    The training trajectory is not touched: mode and random generators are restored.
    """
    predictions = predict_dataset(system, dataset, batch_size, num_workers)
    metrics = system.metrics(dataset, predictions) if distributed.rank() == 0 else {}
    return Evaluation(distributed.gather(metrics)[0], predictions)


def predict_dataset(system: System, dataset: CocoDataset, batch_size: int, num_workers: int = 0) -> list[Prediction]:
    """Predictions for all images, gathered over ranks, in the order of the dataset."""
    training = system.training
    system.eval()
    share: list[Prediction] = []
    device = system.runtime.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        for samples in evaluation_batches(dataset, batch_size, num_workers):
            share += system.predict(samples)
    system.train(training)
    return gather_predictions(share, dataset.image_ids)


def gather_predictions(share: Sequence[Prediction], image_ids: Sequence[int]) -> list[Prediction]:
    """The predictions of all ranks, one for each of ``image_ids``, in that order; the same list on every rank.

    Args:
        share: This rank's part; it may be empty, and images may be in several parts, as where a sampler pads.
        image_ids: All images.

    Raises:
        ValueError: No rank predicted one of them.
    """
    by_image = {prediction.image_id: prediction for part in distributed.gather(share) for prediction in part}
    missing = [image_id for image_id in image_ids if image_id not in by_image]
    if missing:
        raise ValueError(f"no prediction for {len(missing)} of {len(image_ids)} images, the first of id {missing[0]}")
    return [by_image[image_id] for image_id in image_ids]


def coco_metrics(dataset: CocoDataset, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Box metrics, and those of masks and keypoints where predictions carry them.

    Args:
        dataset: Its annotation file is the truth.
        predictions: Empty ones are legal.

    Returns:
        ``bbox/AP``, ``bbox/AP50``, ... in 0..1; -1 where there is no truth to find, as COCO's code has it.
    """
    detections = coco_detections(predictions, dataset.label_to_category_id)
    image_ids = [prediction.image_id for prediction in predictions]
    files: dict[Kind, Path] = {"bbox": dataset.annotation_file}
    if dataset.has_masks and any(prediction.masks is not None for prediction in predictions):
        files["segm"] = dataset.annotation_file
    if dataset.keypoint_file and any(prediction.keypoints is not None for prediction in predictions):
        files["keypoints"] = dataset.keypoint_file
    truths = {file: json.loads(file.read_text(encoding="utf-8")) for file in set(files.values())}
    metrics: dict[str, float] = {}
    for kind, file in files.items():
        stats = coco_stats(truths[file], detections, kind, image_ids)
        metrics |= {f"{kind}/{name}": value for name, value in zip(METRIC_NAMES[kind], stats)}
    return metrics


def coco_detections(predictions: Sequence[Prediction], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Predictions as COCO result records: xywh boxes, compressed RLE masks, flat keypoints."""
    records = []
    for prediction in predictions:
        boxes = prediction.boxes.cpu().double().numpy()
        masks = None if prediction.masks is None else compressed_rles(prediction.masks, prediction.size)
        for i, (box, score, label) in enumerate(zip(boxes, prediction.scores.tolist(), prediction.labels.tolist())):
            x1, y1, x2, y2 = box.tolist()
            record = {
                "image_id": prediction.image_id,
                "category_id": category_ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            if masks is not None:
                record["segmentation"] = masks[i]
            if prediction.keypoints is not None:
                record["keypoints"] = prediction.keypoints[i].flatten().tolist()
            records.append(record)
    return records


def compressed_rles(segmentations: Sequence[Segmentation], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Polygons or run lengths of an image of ``size`` (H, W) as COCO's compressed form, counts as text for JSON."""
    records = []
    for rle in coco_mask.rasterize(segmentations, *size):
        counts = rle["counts"]
        records.append({**rle, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts})
    return records


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

    from ldie.engine.mask_evaluator import MaskEvaluator

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
