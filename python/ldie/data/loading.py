# SPDX-License-Identifier: Apache-2.0
"""From data sets to batches: order, random numbers and collation, the same for any number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ldie.data.sample import Sample

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


class Samples(Protocol):
    """Samples by index: a :class:`ldie.data.CocoDataset`, a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class TransformedDataset(Dataset[Any]):
    """A data set whose samples go through a random transform.

    Args:
        dataset: Gives samples by index.
        transform: Takes a sample and a generator seeded by (seed, epoch, index); may return any object.
        seed: Of the transform.
    """

    def __init__(self, dataset: Samples, transform: Callable[[Sample, Generator], Any], seed: int) -> None:
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


@dataclass
class Batch:
    """B samples; the objects of all images in flat tensors, image b owning rows ``offsets[b]`` to ``offsets[b+1]``."""

    images: Tensor
    """[B,3,H,W], of the samples' type; smaller images fill up with zeros at the right and bottom."""
    boxes: Tensor
    """float32 [N,4], x1 y1 x2 y2, pixels of ``images``."""
    labels: Tensor
    """int64 [N]."""
    iscrowd: Tensor
    """bool [N]."""
    offsets: Tensor
    """int64 [B+1]."""
    image_ids: Tensor
    """int64 [B]."""
    sizes: Tensor
    """int64 [B,2]: (H, W) of each image without the filling."""
    samples: list[Sample]
    """Masks, keypoints and names; stay on the CPU, their images are views of ``images`` there."""

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The batch with its tensors on ``device``; ``samples`` stay where they are."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, for ``DataLoader(pin_memory=True)``."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {name: function(v) for name, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)


def collate(samples: Sequence[Sample], *, divisor: int = 1) -> Batch:
    """Samples to a batch.

    Args:
        samples: At least one, with images of one type; their sizes may differ.
        divisor: Height and width of the batch are rounded up to multiples of this.

    Raises:
        ValueError: No samples.
    """
    if not samples:
        raise ValueError("collate needs at least one sample, got none")
    sizes = torch.tensor([sample.image.shape[1:] for sample in samples])
    height, width = (-(-n // divisor) * divisor for n in sizes.amax(dim=0).tolist())
    images = samples[0].image.new_zeros(len(samples), 3, height, width)
    views = [image[:, :h, :w] for image, (h, w) in zip(images, sizes.tolist(), strict=True)]
    for view, sample in zip(views, samples, strict=True):
        view.copy_(sample.image)
    counts = torch.tensor([0] + [len(sample) for sample in samples])
    return Batch(
        images=images,
        boxes=torch.cat([sample.boxes for sample in samples]),
        labels=torch.cat([sample.labels for sample in samples]),
        iscrowd=torch.cat([sample.iscrowd for sample in samples]),
        offsets=counts.cumsum(0),
        image_ids=torch.tensor([sample.image_id for sample in samples]),
        sizes=sizes,
        samples=[replace(sample, image=view) for sample, view in zip(samples, views, strict=True)],
    )


def _stream(*key: int) -> Generator:
    return np.random.default_rng(key)
