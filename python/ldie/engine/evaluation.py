# SPDX-License-Identifier: Apache-2.0
"""Results of a model over a whole data set, gathered over ranks, and the task's metrics of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ldie.contract import Dataset, Model, Results, Task
from ldie.engine import distributed
from ldie.engine.loader import evaluation_batches


@dataclass(frozen=True)
class Evaluation:
    """Metrics and the results they were computed from."""

    metrics: dict[str, float]
    results: Results
    """Of all ranks, in the order of the data set."""


def evaluate(
    model: Model, task: Task, dataset: Dataset, batch_size: int, num_workers: int = 0, *, detailed: bool = False
) -> Evaluation:
    """Predicts a whole data set and computes the task's metrics, the detailed ones if asked; the same on every rank.

    Random generators are restored; the model is left in eval mode.
    """
    results = predict_dataset(model, task, dataset, batch_size, num_workers)
    metrics = task.metrics(dataset, results, detailed=detailed) if distributed.rank() == 0 else {}
    return Evaluation(distributed.gather(metrics)[0], results)


def predict_dataset(model: Model, task: Task, dataset: Dataset, batch_size: int, num_workers: int = 0) -> Results:
    """A result for each sample, by the task's key, gathered over ranks, in the order of the data set."""
    model.eval()
    share: dict[int, tuple[Hashable, Any]] = {}
    indices = range(distributed.rank(), len(dataset), distributed.world_size())
    remaining = iter(indices)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        for samples in evaluation_batches(dataset, indices, batch_size, num_workers):
            results = model.predict(task.inputs(samples))
            for sample, result in zip(samples, results, strict=True):
                share[next(remaining)] = (task.key(sample), result)
    return gather_results(share, len(dataset))


def gather_results(share: Mapping[int, tuple[Hashable, Any]], count: int) -> dict[Hashable, Any]:
    """The results of all ranks by key, in the order of the data set; the same on every rank.

    Args:
        share: This rank's part, key and result by index; it may be empty, and an index may be in several parts, as
            where a sampler pads.
        count: Samples in the data set.

    Raises:
        ValueError: No rank predicted one of them, or two samples have one key.
    """
    found = {index: pair for part in distributed.gather(dict(share)) for index, pair in part.items()}
    missing = [index for index in range(count) if index not in found]
    if missing:
        raise ValueError(f"no result for {len(missing)} of {count} samples, the first of index {missing[0]}")
    results = dict(found[index] for index in range(count))
    if len(results) != count:
        raise ValueError(f"{count} samples have only {len(results)} different keys; Task.key must tell them apart")
    return results
