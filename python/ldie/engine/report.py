# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind for people: metrics, detections, pictures, and where they are."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch

from ldie.data import CocoDataset
from ldie.engine import checkpoint
from ldie.engine.evaluation import Evaluation, coco_detections
from ldie.engine.log import logger, read_log
from ldie.engine.system import System
from ldie.engine.visualization import draw_heatmap, draw_prediction, grid, plot_curves

PICTURES = "pictures"
_SHOWN_IMAGES = 12


def summary(metrics: Mapping[str, float]) -> str:
    """The headline metrics on one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in _headline(metrics).items())


def write_evaluation(folder: Path, dataset: CocoDataset, evaluation: Evaluation, system: System) -> None:
    """Writes ``metrics.json``, ``detections.json`` (COCO results) and pictures of the first images."""
    checkpoint.write_text(folder / "metrics.json", json.dumps(evaluation.metrics, indent=2) + "\n")
    detections = coco_detections(evaluation.predictions, dataset.label_to_category_id)
    checkpoint.write_text(folder / "detections.json", json.dumps(detections))
    samples = [dataset[i] for i in range(min(_SHOWN_IMAGES, len(dataset)))]
    if not samples:
        return
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    shown = [
        draw_prediction(sample.image, prediction, dataset.class_names, truth=sample)
        for sample, prediction in zip(samples, evaluation.predictions)
    ]
    grid(shown).save(pictures / "predictions.png")
    training = system.training
    system.eval()
    with torch.no_grad():
        heatmaps = system.heatmaps(samples)
    system.train(training)
    for name, heats in heatmaps.items():
        overlays = [draw_heatmap(sample.image, heat) for sample, heat in zip(samples, heats)]
        grid(overlays).save(pictures / f"{name}.png")


def write_curves(work_dir: Path) -> None:
    """Draws ``loss.png`` and ``ap.png`` from the run's log; names share a panel up to a ``:`` or ``/``."""
    panels: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = {
        kind: defaultdict(lambda: defaultdict(list)) for kind in ("train", "eval")
    }
    for record in read_log(work_dir / "log.jsonl"):
        kind, step = record["kind"], record["step"]
        values = {
            name: record[name] for name in record.keys() - {"kind", "step", "seconds"} if record[name] is not None
        }
        for name, value in sorted((_headline(values) if kind == "eval" else values).items()):
            panels[kind][re.split("[:/]", name)[0]][name].append((step, value))
    (work_dir / PICTURES).mkdir(exist_ok=True)
    if panels["train"]:
        plot_curves(panels["train"], work_dir / PICTURES / "loss.png")
    if panels["eval"]:
        plot_curves(panels["eval"], work_dir / PICTURES / "ap.png")


def _headline(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """COCO's three best-known metrics of each kind; all metrics of a system that has others."""
    shown = {name: value for name, value in metrics.items() if name.rpartition("/")[2] in ("AP", "AP50", "AP75")}
    return shown or metrics


def announce(folder: Path) -> None:
    """Says where everything is."""
    for label, name in (("checkpoints", checkpoint.FOLDER), ("metrics", "metrics.json"), ("pictures", PICTURES)):
        if (folder / name).exists():
            logger.info("%-11s %s", label, folder / name)
