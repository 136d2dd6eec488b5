# SPDX-License-Identifier: Apache-2.0
"""Batches for training and samples for evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from ldie.config import RunConfig
from ldie.contract import Dataset, Recipe
from ldie.engine import distributed
from ldie.engine.interrupt import ignore_in_worker
from ldie.errors import ConfigError, TrainingError
from ldie.files import first_line
from ldie.sampling import GroupedSampler, SampleKey, TransformedDataset


def training_batches(
    dataset: Dataset, recipe: Recipe, config: RunConfig, step: int, device: torch.device
) -> Generator[Any, None, None]:
    """This rank's batches from the one after ``step`` steps on, without end, on ``device``; close it to end workers."""
    solver = config.solver
    sampler = _sampler(dataset, recipe, config)(
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        start=step * solver.accumulate * solver.batch_size,
    )
    transformed = TransformedDataset(dataset, recipe.transform, config.seed)
    loader = _loader(transformed, solver.batch_size, solver.num_workers, recipe.collate, sampler, device)
    return (to_device(batch, device) for batch in _alive(loader))


def _sampler(dataset: Dataset, recipe: Recipe, config: RunConfig) -> Callable[..., Iterable[SampleKey]]:
    """The recipe's way through the data, or one in batches of a group, for data that says what groups it has."""
    if not config.dataset.aspect_grouping:
        return partial(recipe.sampler, len(dataset))
    groups = getattr(dataset, "groups", None)
    if groups is None:
        raise ConfigError("dataset.aspect_grouping=true needs data of images; set it to false")
    return partial(GroupedSampler, groups, config.solver.batch_size, seed=config.seed)


def evaluation_batches(
    dataset: Dataset, indices: Sequence[int], batch_size: int, num_workers: int = 0
) -> Iterator[list[Any]]:
    """These samples, untransformed, in this order."""
    share: Any = Subset(dataset, indices)  # type: ignore[arg-type]
    return _alive(_loader(share, batch_size, num_workers, list))


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


def worker_death(error: BaseException) -> TrainingError | None:
    """An error that says what to do, where ``error`` means that a data-loading process died.

    torch raises a RuntimeError then, wherever the program is, unless reading from the process fails first.
    """
    if not (isinstance(error, (ConnectionError, EOFError)) or "DataLoader worker (pid" in str(error)):
        return None
    return TrainingError(f"a data-loading process died ({first_line(error)}); free memory, or lower solver.num_workers")


def _alive(loader: DataLoader[Any]) -> Iterator[Any]:
    batches = iter(loader)
    try:
        yield from batches
    except (RuntimeError, ConnectionError, EOFError) as error:
        death = worker_death(error)
        if death is None:
            raise
        # Its frames keep the other processes, and torch would raise once more about the dead.
        error.__traceback__ = None
        del batches
        raise death from None


def _loader(
    dataset: Any,
    batch_size: int,
    num_workers: int,
    collate: Callable[[list[Any]], Any],
    sampler: Iterable[Any] | None = None,
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
