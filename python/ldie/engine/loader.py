# SPDX-License-Identifier: Apache-2.0
"""Batches for training and samples for evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from ldie.config import RunConfig
from ldie.data import CocoDataset, Sample, ShuffledSampler, TransformedDataset
from ldie.engine import distributed
from ldie.engine.interrupt import ignore_in_worker
from ldie.engine.system import System


def training_batches(
    dataset: CocoDataset, system: System, config: RunConfig, step: int, device: torch.device
) -> Iterator[Any]:
    """This rank's batches from the one after ``step`` steps on, without end, on ``device``."""
    solver = config.solver
    sampler = ShuffledSampler(
        len(dataset),
        seed=config.seed,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        start=step * solver.batch_size,
    )
    transformed = TransformedDataset(dataset, system.train_transform(), config.seed)
    loader = _loader(transformed, solver.batch_size, solver.num_workers, system.collate, sampler, device)
    return (to_device(batch, device) for batch in loader)


def evaluation_batches(dataset: CocoDataset, batch_size: int, num_workers: int = 0) -> Iterator[list[Sample]]:
    """This rank's share of all samples, untransformed, each once."""
    share = Subset(dataset, range(distributed.rank(), len(dataset), distributed.world_size()))
    return iter(_loader(share, batch_size, num_workers, list))


def to_device(batch: Any, device: torch.device) -> Any:
    """Moves every tensor in nested dicts, lists, tuples and dataclasses; what has a ``to`` method moves itself."""
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        return dataclasses.replace(batch, **to_device(fields, device))
    return batch


def _loader(
    dataset: Dataset[Any],
    batch_size: int,
    num_workers: int,
    collate: Callable[[list[Any]], Any],
    sampler: Sampler[Any] | None = None,
    device: torch.device | None = None,
) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=device is not None and device.type == "cuda",
        worker_init_fn=ignore_in_worker,
        generator=torch.Generator(),  # the default one would be drawn from, and the run would depend on it
    )
