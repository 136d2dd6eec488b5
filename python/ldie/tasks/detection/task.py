# SPDX-License-Identifier: Apache-2.0
"""Detection as a task: images with objects, COCO's metrics, pictures and files."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.config import RunConfig
from ldie.contract import Facts, Results, Task
from ldie.errors import DataError, short
from ldie.files import make_folder
from ldie.tasks.detection.catalog import locate_data, open_splits, part_of
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.detections import Detections, detect
from ldie.tasks.detection.metrics import METRIC_NAMES, coco_metrics
from ldie.tasks.detection.model import DetectionModel
from ldie.tasks.detection.prediction_files import write_predictions
from ldie.tasks.detection.proposal_pictures import draw_proposals
from ldie.tasks.detection.results import coco_detections, write_records
from ldie.tasks.detection.sample import Sample
from ldie.tasks.detection.tables import metrics_table
from ldie.tasks.detection.visualization import draw_prediction, draw_sample, grid, save_picture

logger = logging.getLogger("ldie")
_REPORTED_IMAGES = 12
_GRID_IMAGES = 16


class DetectionTask(Task):
    """Objects in images: boxes, and masks and keypoints where the data has them.

    Facts: ``classes`` by label, ``category_ids`` of the data's files by label, ``keypoints`` by number, their
    ``flip_pairs`` and ``skeleton``.
    """

    files = ("detections.json",)

    def prepare(self, config: RunConfig) -> None:
        """See :meth:`Task.prepare`: generates data that has a name."""
        locate_data(config.dataset.root, config.output_dir, seed=config.seed)

    def open(self, config: RunConfig, splits: Sequence[str]) -> list[CocoDataset]:
        """See :meth:`Task.open`; all splits have the same categories, and that to train on has the images asked for."""
        data = config.dataset
        opened = open_splits(locate_data(data.root, config.output_dir, seed=config.seed), splits, data.categories)
        return [
            part_of(dataset, drop_empty=data.drop_empty, limit=data.limit) if name == data.train else dataset
            for name, dataset in zip(splits, opened)
        ]

    def facts(self, dataset: CocoDataset) -> Facts:
        """See :meth:`Task.facts`."""
        return {
            "classes": dataset.class_names,
            "category_ids": dataset.label_to_category_id,
            "keypoints": list(dataset.keypoint_names),
            "flip_pairs": [list(pair) for pair in dataset.flip_pairs],
            "skeleton": [list(pair) for pair in dataset.skeleton],
        }

    def facts_without_data(self, config: Any) -> Facts:
        """See :meth:`Task.facts_without_data`: classes are numbered."""
        labels = range(config.model.num_classes)
        classes = [f"class {label}" for label in labels]
        return {
            "classes": classes,
            "category_ids": list(labels),
            "keypoints": [],
            "flip_pairs": [],
            "skeleton": [],
        }

    def validate(self, facts: Facts) -> None:
        """See :meth:`Task.validate`."""
        for name in ("classes", "category_ids", "keypoints", "flip_pairs", "skeleton"):
            if not isinstance(facts.get(name), list):
                raise ValueError(f"{name} is no list")
        if len(facts["classes"]) != len(facts["category_ids"]):
            raise ValueError("classes and category_ids differ in number")

    def check(self, dataset: CocoDataset, facts: Facts, origin: str) -> None:
        """See :meth:`Task.check`: classes must be the same, and keypoints where both have some."""
        if dataset.class_names != facts["classes"]:
            raise DataError(
                f"{dataset.annotation_file}: classes {short(dataset.class_names, 5)} differ from those of {origin}: "
                f"{short(facts['classes'], 5)}; evaluate on data with the same categories"
            )
        names = list(dataset.keypoint_names)
        if names and facts["keypoints"] and names != facts["keypoints"]:
            raise DataError(
                f"{dataset.keypoint_file}: keypoints {short(names, 5)} differ from those of {origin}: "
                f"{short(facts['keypoints'], 5)}; evaluate on data with the same keypoints, or without any"
            )

    def key(self, sample: Sample) -> Hashable:
        """See :meth:`Task.key`: the image's id."""
        return sample.image_id

    def inputs(self, samples: Sequence[Sample]) -> list[torch.Tensor]:
        """See :meth:`Task.inputs`: the images."""
        return [sample.image for sample in samples]

    def metrics(self, dataset: CocoDataset, results: Results, *, detailed: bool = False) -> dict[str, float]:
        """See :meth:`Task.metrics`: COCO's, and those of each class."""
        return coco_metrics(dataset, results, per_class=detailed)

    def headline(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """COCO's best-known metrics of each kind, precision and recall, and the recall of proposals."""
        best_known = ("AP", "AP50", "AP75", "AR100", "AR")  # keypoints' recall is that of any number of detections
        names = [f"{kind}/{name}" for kind in METRIC_NAMES for name in best_known] + ["proposals/AR100"]
        return {name: metrics[name] for name in names if name in metrics}

    def table(self, metrics: Mapping[str, float]) -> str:
        """See :meth:`Task.table`: COCO's lines for each kind, and one for each class where its metrics are there."""
        return metrics_table(metrics)

    def report(self, folder: Path, dataset: CocoDataset, results: Results, model: Any) -> None:
        """See :meth:`Task.report`: ``detections.json`` (COCO results) and pictures of the first images."""
        write_records(folder / "detections.json", coco_detections(results, dataset.label_to_category_id))
        samples = [dataset[i] for i in range(min(_REPORTED_IMAGES, len(dataset)))]
        if samples:
            pictures = folder / "pictures"
            make_folder(pictures)
            _draw_results(pictures, samples, dataset, results)
            _draw_proposals(pictures, samples, results)
            _draw_own(pictures, samples, model)

    def infer(self, model: DetectionModel, inputs: Any, batch_size: int = 1) -> list[Detections]:
        """See :meth:`Task.infer`: images as paths, Pillow images, arrays or tensors, one or a list of them."""
        images = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        return list(detect(model, images, batch_size))

    def predict(
        self, model: DetectionModel, inputs: Sequence[Path], out: Path, *, batch_size: int = 1, min_score: float = 0.3
    ) -> None:
        """See :meth:`Task.predict`: one annotated PNG per image, and ``predictions.json`` in COCO's format."""
        write_predictions(model, inputs, out, batch_size=batch_size, min_score=min_score)

    def show(self, config: RunConfig, split: str, count: int, out: Path) -> None:
        """See :meth:`Task.show`: boxes, masks, keypoints and crowds of images, one by one and side by side."""
        self.prepare(config)
        (dataset,) = self.open(config, [split])
        count = min(count, len(dataset))
        first = []  # of many pictures, not all are kept
        for i in range(count):
            sample = dataset[i]
            picture = draw_sample(sample, dataset.class_names, dataset.skeleton)
            save_picture(picture, out / f"{split}_{sample.image_id}.png")
            first += [picture] if i < _GRID_IMAGES else []
        if first:
            save_picture(grid(first), out / f"{split}.png")
        logger.info("%d of %d images, %d classes: %s", count, len(dataset), len(dataset.class_names), out)


def _draw_results(folder: Path, samples: Sequence[Sample], dataset: CocoDataset, results: Results) -> None:
    names, skeleton = dataset.class_names, dataset.skeleton
    shown = [
        draw_prediction(sample.image, results[sample.image_id], names, truth=sample, skeleton=skeleton)
        for sample in samples
    ]
    save_picture(grid(shown), folder / "predictions.png")


def _draw_proposals(folder: Path, samples: Sequence[Sample], results: Results) -> None:
    proposals = [results[sample.image_id].proposals for sample in samples]
    shown = [draw_proposals(boxes, sample) for boxes, sample in zip(proposals, samples) if boxes is not None]
    if shown:
        save_picture(grid(shown), folder / "proposals.png")


def _draw_own(folder: Path, samples: Sequence[Sample], model: DetectionModel) -> None:
    with torch.no_grad():
        sheets = model.pictures([sample.image for sample in samples])
    for name, sheet in sheets.items():
        save_picture(sheet, folder / f"{name}.png")
