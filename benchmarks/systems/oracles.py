"""What the oracles of systems share: truth in place of a network's outputs, evaluated as results are."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ldie.tasks.detection import CocoDataset, Prediction, Sample, build_shapes
from ldie.tasks.detection.batches import Batch
from ldie.tasks.detection.metrics import coco_metrics
from torch import Tensor

CERTAIN = 20.0
"""The logit of what is sure."""


class Kept(NamedTuple):
    """What targets keep of a data set."""

    metrics: dict[str, float]
    objects: int
    lost: int
    """Objects that nothing learns."""


def kept(dataset: CocoDataset, ideal: Callable[[Sample], tuple[Prediction, int]], limit: int | None = None) -> Kept:
    """What targets keep of the first ``limit`` images, crowds left out; metrics are of all images.

    Args:
        dataset: The truth.
        ideal: What a network that has learned its targets would find in a sample; and how many objects it cannot learn.
        limit: Of images.
    """
    samples = [dataset[index] for index in range(len(dataset))][:limit]
    samples = [sample.select(~sample.iscrowd) for sample in samples]
    found = {sample.image_id: ideal(sample) for sample in samples if len(sample)}
    metrics = coco_metrics(dataset, {image: prediction for image, (prediction, _) in found.items()})
    return Kept(metrics, sum(map(len, samples)), sum(lost for _, lost in found.values()))


def certain(probabilities: Tensor) -> Tensor:
    """Logits of these probabilities, of 0 and 1, too."""
    return probabilities.logit().clamp(-CERTAIN, CERTAIN)


def image_size(of: Batch | Sample) -> tuple[int, int]:
    """(H, W) of the pixels of a batch or a sample."""
    pixels = of.images if isinstance(of, Batch) else of.image
    return pixels.shape[-2], pixels.shape[-1]


def print_tables(tables: Callable[[CocoDataset], str], description: str | None) -> None:
    """The command: prints an oracle's tables of a data set."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="a data set in COCO's layout; none: the generated shapes")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        print(tables(CocoDataset(folder or build_shapes(Path(scratch) / "shapes", train=1), "val2017")))
