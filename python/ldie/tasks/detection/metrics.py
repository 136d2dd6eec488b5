# SPDX-License-Identifier: Apache-2.0
"""COCO's metrics of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ldie.tasks.detection.annotations import AnnotationFile
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.duplicates import duplicate_rate
from ldie.tasks.detection.recall import proposal_recall
from ldie.tasks.detection.sample import Prediction

if TYPE_CHECKING:
    from ldie.tasks.detection.evaluator import Kind


class Stat(NamedTuple):
    """What one of COCO's numbers is the mean of."""

    iou: str
    """Overlap from which on an object is found; of a range, the mean."""
    area: str
    """Size class of the objects."""
    detections: int
    """How many of an image count at most, of each class."""


_ALL = "0.50:0.95"
_SIZES = {"s": "small", "m": "medium", "l": "large"}
_OF_BOXES = {
    "AP": Stat(_ALL, "all", 100), "AP50": Stat("0.50", "all", 100), "AP75": Stat("0.75", "all", 100),
    **{f"AP{letter}": Stat(_ALL, size, 100) for letter, size in _SIZES.items()},
    **{f"AR{most}": Stat(_ALL, "all", most) for most in (1, 10, 100)},
    **{f"AR{letter}": Stat(_ALL, size, 100) for letter, size in _SIZES.items()},
}  # fmt: skip
_OF_KEYPOINTS = {
    f"{mean}{suffix}": stat
    for mean in ("AP", "AR")
    for suffix, stat in {
        "": Stat(_ALL, "all", 20), "50": Stat("0.50", "all", 20), "75": Stat("0.75", "all", 20),
        "m": Stat(_ALL, "medium", 20), "l": Stat(_ALL, "large", 20),
    }.items()
}  # fmt: skip
STATS: dict[Kind, dict[str, Stat]] = {"bbox": _OF_BOXES, "segm": _OF_BOXES, "keypoints": _OF_KEYPOINTS}
"""COCO's numbers of each kind by their names here, in COCO's order."""
METRIC_NAMES: dict[Kind, tuple[str, ...]] = {kind: tuple(stats) for kind, stats in STATS.items()}


def coco_metrics(
    dataset: CocoDataset, predictions: Mapping[Any, Prediction], *, per_class: bool = False
) -> dict[str, float]:
    """Box metrics, and those of masks, keypoints and proposals where predictions carry them.

    Args:
        dataset: Its annotations are the truth.
        predictions: By image id; empty ones are legal. Only these images count.
        per_class: Add the metrics of each class, from the same evaluation.

    Returns:
        ``bbox/AP``, ``bbox/AP50``, ... in 0..1; -1 where there is no truth to find, as COCO's code has it. Of each
        class ``bbox/AP-dog``, ``bbox/AP50-dog`` and ``bbox/objects-dog``, how many were to be found; where two classes
        have one name, all names have the category's id with them: ``bbox/AP-dog (id 18)``. With
        them ``bbox/duplicates`` (:func:`~ldie.tasks.detection.duplicates.duplicate_rate`) and ``proposals/AR100``, ...
        (:func:`~ldie.tasks.detection.recall.proposal_recall`).

    Raises:
        ValueError: A prediction is of another size than its image, or objects of only some images have masks or
            keypoints, or only some images proposals.
    """
    from ldie.tasks.detection.evaluator import by_class, evaluate  # whose package only COCO's metrics need

    truths: dict[Kind, AnnotationFile] = {"bbox": dataset.truth}
    if dataset.has_masks and any(prediction.masks is not None for prediction in predictions.values()):
        truths["segm"] = dataset.truth
    if dataset.keypoint_truth and any(prediction.keypoints is not None for prediction in predictions.values()):
        truths["keypoints"] = dataset.keypoint_truth
    metrics: dict[str, float] = {}
    for kind, truth in truths.items():
        evaluation = evaluate(truth, predictions, kind, dataset.label_to_category_id)
        metrics |= {f"{kind}/{name}": float(value) for name, value in zip(STATS[kind], evaluation.stats, strict=True)}
        if per_class:
            of_category = by_class(evaluation, truth, predictions, kind)
            for id, name in _unique_names(dataset).items():
                metrics |= {f"{kind}/{stat}-{name}": value for stat, value in of_category[id].items()}
    metrics["bbox/duplicates"] = duplicate_rate(dataset.truth, predictions, dataset.label_to_category_id)
    if any(prediction.proposals is not None for prediction in predictions.values()):
        recall = proposal_recall(dataset.truth, predictions)
        metrics |= {f"proposals/{name}": value for name, value in recall.items()}
    return metrics


def _unique_names(dataset: CocoDataset) -> dict[int, str]:
    """Names of the classes by category id, in the order of the labels."""
    names = dict(zip(dataset.label_to_category_id, dataset.class_names))
    unique = len(set(names.values())) == len(names)
    return names if unique else {id: f"{name} (id {id})" for id, name in names.items()}
