# SPDX-License-Identifier: Apache-2.0
"""COCO's metrics of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ldie.tasks.detection.annotations import AnnotationFile
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.duplicates import duplicate_rate
from ldie.tasks.detection.recall import proposal_recall
from ldie.tasks.detection.sample import Prediction

if TYPE_CHECKING:
    from ldie.tasks.detection.evaluator import Kind

_BOX_STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
METRIC_NAMES: dict[Kind, tuple[str, ...]] = {
    "bbox": _BOX_STATS,
    "segm": _BOX_STATS,
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
}


def coco_metrics(dataset: CocoDataset, predictions: Mapping[Any, Prediction]) -> dict[str, float]:
    """Box metrics, and those of masks, keypoints and proposals where predictions carry them.

    Args:
        dataset: Its annotations are the truth.
        predictions: By image id; empty ones are legal. Only these images count.

    Returns:
        ``bbox/AP``, ``bbox/AP50``, ... in 0..1; -1 where there is no truth to find, as COCO's code has it. With them
        ``bbox/duplicates`` (:func:`~ldie.tasks.detection.duplicates.duplicate_rate`) and ``proposals/AR100``, ...
        (:func:`~ldie.tasks.detection.recall.proposal_recall`).

    Raises:
        ValueError: A prediction is of another size than its image, or objects of only some images have masks or
            keypoints, or only some images proposals.
    """
    from ldie.tasks.detection.evaluator import evaluate  # whose package only COCO's metrics need

    truths: dict[Kind, AnnotationFile] = {"bbox": dataset.truth}
    if dataset.has_masks and any(prediction.masks is not None for prediction in predictions.values()):
        truths["segm"] = dataset.truth
    if dataset.keypoint_truth and any(prediction.keypoints is not None for prediction in predictions.values()):
        truths["keypoints"] = dataset.keypoint_truth
    metrics: dict[str, float] = {}
    for kind, truth in truths.items():
        stats = evaluate(truth, predictions, kind, dataset.label_to_category_id).stats
        metrics |= {f"{kind}/{name}": float(value) for name, value in zip(METRIC_NAMES[kind], stats, strict=True)}
    metrics["bbox/duplicates"] = duplicate_rate(dataset.truth, predictions, dataset.label_to_category_id)
    if any(prediction.proposals is not None for prediction in predictions.values()):
        recall = proposal_recall(dataset.truth, predictions)
        metrics |= {f"proposals/{name}": value for name, value in recall.items()}
    return metrics
