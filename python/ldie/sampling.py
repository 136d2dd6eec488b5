# SPDX-License-Identifier: Apache-2.0
"""Which samples, in which order, with which random numbers: the same for any number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from torch.utils.data import Dataset, Sampler

_ORDER, _TRANSFORM = 1, 2  # separate streams of random numbers


@dataclass(frozen=True)
class SampleKey:
    """What to load: the random numbers of a sample depend on the epoch, so it travels with the index."""

    epoch: int
    index: int


class ShuffledSampler(Sampler[SampleKey]):
    """An endless stream of samples, every epoch a new permutation, split over ranks.

    All ranks walk through one global stream, each taking every ``world_size``-th sample. The stream depends on
    ``seed`` alone, so a resume needs no state but the number of samples that were used: ``start``.

    Args:
        length: Samples in the data set.
        seed: Of the permutations.
        rank: This process.
        world_size: Number of processes.
        start: Samples that this rank has used already (steps done times batch size).

    Raises:
        ValueError: An empty data set, or a number out of range.

    Example:
        >>> stream = iter(ShuffledSampler(3, seed=0))
        >>> sorted(next(stream).index for _ in range(3))
        [0, 1, 2]
    """

    def __init__(self, length: int, *, seed: int, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        if length < 1 or seed < 0 or start < 0 or not 0 <= rank < world_size:
            raise ValueError(
                "need length >= 1, seed >= 0, start >= 0, 0 <= rank < world_size; "
                f"got {length}, {seed}, {start}, {rank}, {world_size}"
            )
        self.length = length
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    def __iter__(self) -> Iterator[SampleKey]:
        position = self.start * self.world_size + self.rank
        while True:
            epoch = position // self.length
            order = _stream(_ORDER, self.seed, epoch).permutation(self.length).tolist()
            while position // self.length == epoch:
                yield SampleKey(epoch, order[position % self.length])
                position += self.world_size


class TransformedDataset(Dataset[Any]):
    """A data set whose samples go through a random transform.

    Args:
        dataset: Gives samples by index.
        transform: Takes a sample and a generator seeded by (seed, epoch, index); may return any object.
        seed: Of the transform.
    """

    def __init__(self, dataset: Any, transform: Callable[[Any, Generator], Any], seed: int) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey | int) -> Any:
        """The transformed sample of a key; an index alone means epoch 0."""
        if isinstance(key, int):
            key = SampleKey(0, key)
        return self.transform(self.dataset[key.index], _stream(_TRANSFORM, self.seed, key.epoch, key.index))


def _stream(*key: int) -> Generator:
    return np.random.default_rng(key)
