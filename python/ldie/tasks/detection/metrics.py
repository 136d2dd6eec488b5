# SPDX-License-Identifier: Apache-2.0
"""COCO's metrics of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ldie.tasks.detection.annotations import Annotation, AnnotationFile
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
        dataset: Its annotations are the truth.
        predictions: By image id; empty ones are legal. Only these images count.

    Returns:
        ``bbox/AP``, ``bbox/AP50``, ... in 0..1; -1 where there is no truth to find, as COCO's code has it.
    """
    detections = coco_detections(predictions, dataset.label_to_category_id)
    truths: dict[Kind, AnnotationFile] = {"bbox": dataset.truth}
    if dataset.has_masks and any(prediction.masks is not None for prediction in predictions.values()):
        truths["segm"] = dataset.truth
    if dataset.keypoint_truth and any(prediction.keypoints is not None for prediction in predictions.values()):
        truths["keypoints"] = dataset.keypoint_truth
    metrics: dict[str, float] = {}
    for kind, truth in truths.items():
        stats = coco_stats(truth, detections, kind, list(predictions))
        metrics |= {f"{kind}/{name}": value for name, value in zip(METRIC_NAMES[kind], stats)}
    return metrics


def coco_stats(
    truth: AnnotationFile, detections: Iterable[Mapping[str, Any]], kind: Kind, image_ids: Iterable[int]
) -> list[float]:
    """COCO's summary for boxes, masks or keypoints, in the order of ``METRIC_NAMES``.

    The evaluator takes an annotation's id for whether it is matched and keeps ids as C numbers, so it gets numbers from
    1 on in place of all ids; in the order of the ids, which decides between equal scores.

    Args:
        truth: The objects that are to be found.
        detections: COCO result records, possibly none.
        kind: What is compared.
        image_ids: The images that were predicted. Those that ``truth`` does not list (a file of keypoints may leave out
            images without people) do not count, nor does what was detected there.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # only COCO's metrics need it

    from ldie.tasks.detection.mask_evaluator import MaskEvaluator

    images = _numbers(truth.images.keys() & set(image_ids))
    objects = [item for item in truth.annotations.values() if item.image_id in images]
    categories = _numbers(
        {item.category_id for item in objects}
    )  # the evaluator's tables need 0.2 MB a class; others do not count
    points = max((len(category.keypoints) for category in truth.categories.values()), default=0)

    def renumbered(record: Mapping[str, Any]) -> dict[str, Any]:
        return {**record, "image_id": images[record["image_id"]], "category_id": categories[record["category_id"]]}

    records = (renumbered(_record(item, kind, points)) for item in objects)
    ground_truth = COCO({
        "images": [{"id": n, "height": truth.images[id].height, "width": truth.images[id].width}
                   for id, n in images.items()],
        "categories": [{"id": n} for n in categories.values()],
        "annotations": [{"id": n, **record} for n, record in enumerate(records, start=1)],
    })  # fmt: skip
    # the evaluator takes a detection's area from its box if it has one, so keypoints come without
    fields = ("image_id", "category_id", "score", _FIELDS[kind])
    results = [
        renumbered({key: item[key] for key in fields})
        for item in detections
        if item["image_id"] in images and item["category_id"] in categories
    ]
    evaluator: COCOeval_faster
    if kind == "segm":
        evaluator = MaskEvaluator(ground_truth, results)
    else:
        sigmas = [_OTHER_SIGMA] * points if points != _BODY_POINTS else None  # None: COCO's own
        evaluator = COCOeval_faster(ground_truth, ground_truth.loadRes(results), kind, kpt_oks_sigmas=sigmas)
    evaluator.params.imgIds = list(images.values())
    evaluator.run()
    return [float(value) for value in evaluator.all_stats[: len(METRIC_NAMES[kind])]]


def _numbers(ids: Iterable[int]) -> dict[int, int]:
    return {id: number for number, id in enumerate(sorted(ids), start=1)}


def _record(item: Annotation, kind: Kind, points: int) -> dict[str, Any]:
    """An object as the evaluator takes it; missing keypoints fill up as not labelled."""
    record = {
        "image_id": item.image_id,
        "category_id": item.category_id,
        "bbox": list(item.box),
        "area": item.area,
        "iscrowd": int(item.iscrowd),
    }
    if kind == "segm":
        return {**record, "segmentation": item.segmentation}
    if kind == "keypoints":
        seen = list(item.keypoints or ())
        return {**record, "keypoints": seen + [0.0] * (3 * points - len(seen)), "num_keypoints": item.num_keypoints}
    return record
