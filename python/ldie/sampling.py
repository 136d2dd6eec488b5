# SPDX-License-Identifier: Apache-2.0
"""Which samples, in which order, with which random numbers: the same for any number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

_ORDER, _TRANSFORM, _TURNS = 1, 2, 3  # separate streams of random numbers


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


class GroupedSampler(Sampler[SampleKey]):
    """An endless stream of batches with samples of one group each, such as images that are all wide or all tall.

    All ranks take their batches of a step from the same group, so one does not wait for another's larger images, and
    together they take what one process with batches ``world_size`` times as large would take. Each group is walked
    through epoch by epoch, every one a new permutation. The turns of the groups are random but even: at any time
    groups have had as many steps as is their due, but for one or two. All of it depends on ``seed`` and the step alone,
    so a resume needs no state but the number of samples that were used: ``start``.

    Args:
        groups: The group of each sample, any integers.
        batch_size: Samples of a batch on one rank.
        seed: Of the permutations and turns.
        rank: This process.
        world_size: Number of processes.
        start: Samples that this rank has used already, whole batches.

    Raises:
        ValueError: An empty data set, or a number out of range.

    Example:
        >>> stream = iter(GroupedSampler([0, 1, 0, 1, 0], batch_size=2, seed=0))
        >>> all(next(stream).index % 2 == next(stream).index % 2 for _ in range(100))
        True
    """

    def __init__(
        self, groups: Sequence[int], batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> None:
        if min(len(groups), batch_size) < 1 or min(seed, start, rank) < 0 or start % batch_size or rank >= world_size:
            raise ValueError(
                "need groups, batch_size >= 1, seed >= 0, start >= 0 in whole batches, 0 <= rank < world_size; "
                f"got {len(groups)}, {batch_size}, {seed}, {start}, {rank}, {world_size}"
            )
        _, self.group_of = np.unique(np.asarray(groups), return_inverse=True)
        self.members = [np.flatnonzero(self.group_of == group) for group in range(int(self.group_of.max()) + 1)]
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self._kept: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __iter__(self) -> Iterator[SampleKey]:
        lap, first = divmod(self.start // self.batch_size, len(self.group_of))  # each group has a lap's step per member
        while True:
            done = [lap * len(members) for members in self.members]  # steps of each group so far
            for step, group in enumerate(self._turns(lap).tolist()):
                if step >= first:
                    yield from self._batch(group, done[group])
                done[group] += 1
            lap, first = lap + 1, 0

    def _turns(self, lap: int) -> NDArray[np.int64]:
        """The group of each step of a lap, its steps spread over the lap."""
        order = np.argsort(self.group_of, kind="stable")
        sizes = np.array([len(members) for members in self.members])
        number = np.concatenate([np.arange(size) for size in sizes])
        places = (number + _stream(_TURNS, self.seed, lap).random(len(order))) / sizes.repeat(sizes)
        return self.group_of[order][np.argsort(places)]

    def _batch(self, group: int, number: int) -> Iterator[SampleKey]:
        """This rank's samples of the group's step of a number."""
        members = self.members[group]
        total = self.batch_size * self.world_size
        for position in range(number * total + self.rank, (number + 1) * total, self.world_size):
            epoch, place = divmod(position, len(members))
            yield SampleKey(epoch, int(members[self._order(group, epoch)[place]]))

    def _order(self, group: int, epoch: int) -> NDArray[np.int64]:
        """The permutation of a group's members in an epoch; that of the last one asked for is kept."""
        if self._kept.get(group, (None,))[0] != epoch:
            permutation = _stream(_ORDER, self.seed, epoch, group).permutation(len(self.members[group]))
            self._kept[group] = epoch, permutation
        return self._kept[group][1]


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
