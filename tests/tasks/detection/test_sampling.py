"""Order and random numbers: the same on any number of ranks and workers, and after a resume."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from ldie.sampling import GroupedSampler, SampleKey, ShuffledSampler, TransformedDataset
from ldie.tasks.detection import CocoDataset, Compose, RandomCrop, RandomResize, Sample
from numpy.random import Generator
from torch.utils.data import DataLoader

AUGMENT = Compose([RandomResize(), RandomCrop((64, 64))])


def keys(count: int, length: int = 7, **options: int) -> list[SampleKey]:
    return list(islice(ShuffledSampler(length, seed=5, **options), count))


def test_every_epoch_is_another_permutation() -> None:
    stream = keys(21)
    epochs = [[key.index for key in stream[i : i + 7]] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [key.epoch for key in stream] == [0] * 7 + [1] * 7 + [2] * 7


def test_seed_decides_the_order() -> None:
    assert keys(14) == keys(14)
    assert list(islice(ShuffledSampler(7, seed=6), 7)) != keys(7)


def test_resume_continues_the_stream() -> None:
    for start in (1, 7, 10, 20):
        assert keys(30)[start:] == keys(30 - start, start=start)


@pytest.mark.parametrize("world_size", [2, 3, 10])
def test_ranks_share_one_stream(world_size: int) -> None:
    parts = [keys(6, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert [key for row in zip(*parts, strict=True) for key in row] == keys(6 * world_size)
    resumed = [keys(2, rank=rank, world_size=world_size, start=4) for rank in range(world_size)]
    assert resumed == [part[4:] for part in parts]


@pytest.mark.parametrize("wrong", [{"length": 0}, {"seed": -1}, {"start": -1}, {"rank": 1}, {"rank": -1}])
def test_sampler_arguments(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need length >= 1"):
        ShuffledSampler(**({"length": 5, "seed": 0} | wrong))


GROUPS = [5, 5, 5, 5, 5, 5, 5, 2, 2, 2, 9]  # of eleven samples


def grouped(count: int, batch_size: int = 2, **options: int) -> list[SampleKey]:
    """The first samples of a rank."""
    return list(islice(GroupedSampler(GROUPS, batch_size, **({"seed": 5} | options)), count))


def batches(keys: list[SampleKey], size: int) -> list[list[SampleKey]]:
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def test_batches_are_of_one_group() -> None:
    for batch in batches(grouped(600, batch_size=3), 3):
        assert len({GROUPS[key.index] for key in batch}) == 1
        assert len(set(batch)) == 3  # also where a group is smaller than a batch


def test_every_sample_has_its_share_at_any_time() -> None:
    stream = grouped(11 * 100)
    for stop in range(100, len(stream), 10):
        for group, size in ((5, 7), (2, 3), (9, 1)):
            count = sum(GROUPS[key.index] == group for key in stream[:stop])
            assert abs(count - stop * size / 11) <= 2 * 2  # two batches
    for lap in (stream[:22], stream[22:44]):  # as many steps as samples
        assert sorted(key.index for key in lap) == sorted([*range(11)] * 2)
    assert [key.epoch for key in stream if key.index == 10] == list(range(100))


def test_a_group_goes_through_permutations_of_its_own() -> None:
    of_group = [key for key in grouped(2000) if GROUPS[key.index] == 5]
    epochs = [[key.index for key in of_group[i : i + 7]] for i in range(0, 70, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and len({tuple(epoch) for epoch in epochs}) == 10
    assert [key.epoch for key in of_group[:70]] == [i // 7 for i in range(70)]
    order = [GROUPS[batch[0].index] for batch in batches(grouped(220), 2)]
    assert len({tuple(order[i : i + 11]) for i in range(0, 110, 11)}) > 5  # nor are the turns always the same


def test_seed_decides_groups_and_order() -> None:
    assert grouped(100) == grouped(100) != grouped(100, seed=6)


def test_groups_are_the_same_after_a_resume() -> None:
    for step in (1, 7, 10, 11, 12, 40, 100):
        assert grouped(60, start=2 * step) == grouped(60 + 2 * step)[2 * step :]


@pytest.mark.parametrize("world_size", [2, 3])
def test_groups_are_the_same_over_ranks(world_size: int) -> None:
    ranks = [batches(grouped(80, rank=rank, world_size=world_size), 2) for rank in range(world_size)]
    together = batches(grouped(80 * world_size, batch_size=2 * world_size), 2 * world_size)
    for step, (one_process, *parts) in enumerate(zip(together, *ranks, strict=True)):
        assert len({GROUPS[key.index] for part in parts for key in part}) == 1
        assert sorted((k.epoch, k.index) for part in parts for k in part) == sorted(
            (k.epoch, k.index) for k in one_process
        )
        resumed = grouped(2, rank=1, world_size=world_size, start=2 * step)
        assert resumed == ranks[1][step]


@pytest.mark.parametrize(
    "wrong", [{"groups": []}, {"batch_size": 0}, {"start": 3}, {"start": -2}, {"rank": 1}, {"seed": -1}]
)
def test_arguments_of_groups(wrong: dict) -> None:
    with pytest.raises(ValueError, match="need groups, batch_size >= 1"):
        GroupedSampler(**({"groups": GROUPS, "batch_size": 2, "seed": 0} | wrong))


def images(dataset: CocoDataset, start: int, workers: int) -> list[torch.Tensor]:
    sampler = ShuffledSampler(len(dataset), seed=1, start=4 * start)
    loader = DataLoader(
        TransformedDataset(dataset, AUGMENT, seed=1),
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        collate_fn=lambda samples: torch.stack([sample.image for sample in samples]),
    )
    return list(islice(loader, 6 - start))


def test_batches_do_not_depend_on_workers_or_resume(hard: CocoDataset) -> None:
    dataset = hard.subset(range(10))
    expected = images(dataset, start=0, workers=0)
    assert all(torch.equal(a, b) for a, b in zip(images(dataset, 0, workers=2), expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(images(dataset, 4, workers=1), expected[4:], strict=True))


def test_epoch_seed_and_index_change_the_random_numbers(hard: CocoDataset) -> None:
    def draw(_: Sample, rng: Generator) -> float:
        return rng.random()

    one, other = TransformedDataset(hard, draw, seed=0), TransformedDataset(hard, draw, seed=1)
    drawn = [one[0], one[1], one[SampleKey(1, 0)], one[SampleKey(1, 1)], other[0], other[SampleKey(1, 0)]]
    assert len(set(drawn)) == len(drawn)
    assert one[SampleKey(0, 1)] == one[1]
    assert len(one) == len(hard)
