"""sample_labels against a reference with a Philox of its own, and against what a uniform sample must look like."""

from __future__ import annotations

import numpy as np
import pytest
import reference.sampling as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree

import ldie_ext

LIMITS = torch.iinfo(torch.int64)


def random_matches(batch: int, count: int, positive: float, ignored: float) -> torch.Tensor:
    """Rows 0 to 8 for a part of the candidates, -2 or less for another, else -1."""
    chance = torch.rand(batch, count)
    matches = torch.where(chance < positive, torch.randint(0, 9, (batch, count)), -1)
    return torch.where(chance > 1 - ignored, -torch.randint(2, 5, (batch, count)), matches)


def assert_matches_reference(
    backend: Backend, matches: torch.Tensor, num_samples: int, fraction: float, seeds: torch.Tensor
) -> None:
    sample = ldie_ext.sample_labels(matches.to(backend.device), num_samples, fraction, seeds.to(backend.device))
    assert_same(tuple(t.cpu() for t in sample), reference.sample_labels(matches, num_samples, fraction, seeds))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_reference_gives_the_published_numbers(counter: list[int], key: list[int], expected: list[int]) -> None:
    """The known answers that the authors of Philox publish with it."""
    assert reference.philox(np.array(counter), np.array(key)).tolist() == expected


@pytest.mark.parametrize("part", range(10))
def test_matches_reference(backend: Backend, part: int) -> None:
    for _ in range(50 if backend.name != "emulated" else 5):
        batch, count, num_samples = (int(torch.randint(1, high, ())) for high in (4, 700, 150))
        matches = random_matches(batch, count, float(torch.rand(())), float(torch.rand(()) * 0.5))
        seeds = torch.randint(LIMITS.min, LIMITS.max, (batch,))
        assert_matches_reference(backend, matches, num_samples, float(torch.rand(())), seeds)


@pytest.mark.sanitize
@pytest.mark.parametrize("shape", [(2, 5000), (1, 128), (1, 129), (3, 1)])
def test_shapes(backend: Backend, shape: tuple[int, int]) -> None:
    assert_matches_reference(backend, random_matches(*shape, 0.2, 0.2), 64, 0.5, torch.arange(shape[0]))


@pytest.mark.parametrize("value", [0, -1, -2, LIMITS.max, LIMITS.min])
@pytest.mark.parametrize("num_samples", [1, 99, 300, 400])
def test_one_kind_only(backend: Backend, value: int, num_samples: int) -> None:
    for fraction in (0.0, 0.25, 1.0):
        matches = torch.full((1, 300), value)
        assert_matches_reference(backend, matches, num_samples, fraction, torch.tensor([-5]))


def test_many_candidates(backend: Backend) -> None:
    """As many as a feature pyramid has anchors, where hardly any random word decides by itself."""
    count = 268_569 if backend.name != "emulated" else 40_000
    matches = random_matches(2, count, 0.001, 0.05)
    assert_matches_reference(backend, matches, 256, 0.5, torch.tensor([3, 2**40]))
    assert_matches_reference(backend, matches, 5000, 0.01, torch.tensor([-1, 0]))


def test_equal_words_are_settled_by_index() -> None:
    """Among 200,000 words of 32 bits some are equal; where the last one taken is one of them, the order shows."""
    count = 200_000
    drawn = reference.words(11, count)
    order = np.argsort(drawn, kind="stable")
    last = int(np.flatnonzero(np.diff(drawn[order]) == 0)[0])  # the first of two equal words is the last one taken
    index, _, _ = ldie_ext.sample_labels(torch.full((1, count), -1), last + 1, 0.0, torch.tensor([11]))
    assert index[0].tolist() == sorted(order[: last + 1].tolist())
    assert order[last] < order[last + 1]


def test_image_does_not_depend_on_its_batch(backend: Backend) -> None:
    matches, seeds = random_matches(4, 900, 0.1, 0.1).to(backend.device), torch.arange(4, device=backend.device)
    together = ldie_ext.sample_labels(matches, 64, 0.5, seeds)
    for image in range(4):
        alone = ldie_ext.sample_labels(matches[image : image + 1], 64, 0.5, seeds[image : image + 1])
        assert_same(alone, tuple(t[image : image + 1] for t in together))


def test_is_uniform() -> None:
    """Chi-square over 20,000 seeds: each of 40 negatives is taken equally often, and so is each pair of neighbours."""
    seeds = torch.arange(20_000)
    count, taken = 40, 10
    index, _, _ = ldie_ext.sample_labels(torch.full((len(seeds), count), -1), taken, 0.5, seeds)
    chosen = torch.zeros(len(seeds), count).scatter_(1, index, 1.0)
    share = taken / count
    counts, expected = chosen.sum(0), len(seeds) * share
    # Sampling without replacement: the variance of a count is expected * (1 - share), and count - 1 are free.
    chi_square = float(((counts - expected) ** 2).sum() / expected / (1 - share) * (count - 1) / count)
    assert 17 < chi_square < 73  # 0.1 % at either end of 39 degrees of freedom
    pairs = (chosen[:, 1:] * chosen[:, :-1]).mean(0)
    likely = share * (taken - 1) / (count - 1)
    assert float((pairs - likely).abs().max()) < 5 * (likely * (1 - likely) / len(seeds)) ** 0.5


def test_seeds_differ_in_every_bit() -> None:
    seeds = torch.tensor([0] + [1 << bit for bit in range(63)] + [LIMITS.min])
    index, _, _ = ldie_ext.sample_labels(torch.full((len(seeds), 2000), -1), 100, 0.5, seeds)
    assert len({tuple(row) for row in index.tolist()}) == len(seeds)


def test_empty_and_non_contiguous(backend: Backend) -> None:
    seeds = torch.tensor([4, 5], device=backend.device)
    index, positive, counts = ldie_ext.sample_labels(torch.zeros(2, 0, dtype=torch.int64).to(seeds), 3, 0.5, seeds)
    assert index.tolist() == [[-1] * 3] * 2
    assert not positive.any()
    assert counts.tolist() == [[0, 0]] * 2
    assert ldie_ext.sample_labels(index[:0], 3, 0.5, seeds[:0])[0].shape == (0, 3)
    matches = random_matches(2, 500, 0.2, 0.2).to(backend.device)
    strided = ldie_ext.sample_labels(matches.t().contiguous().t(), 40, 0.5, seeds.repeat_interleave(2)[::2])
    assert_same(strided, ldie_ext.sample_labels(matches, 40, 0.5, seeds))


def test_errors_name_the_argument(backend: Backend) -> None:
    matches, seeds = torch.zeros(2, 5, dtype=torch.int64).to(backend.device), torch.zeros(2).long().to(backend.device)
    with pytest.raises(RuntimeError, match=r"sample_labels: matches must be int64, got \[2, 5\] int32"):
        ldie_ext.sample_labels(matches.int(), 3, 0.5, seeds)
    with pytest.raises(RuntimeError, match=r"sample_labels: matches must have shape \[B, A\]"):
        ldie_ext.sample_labels(matches[0], 3, 0.5, seeds)
    with pytest.raises(RuntimeError, match=r"sample_labels: seeds must have shape \[B\], one per image, got \[1\]"):
        ldie_ext.sample_labels(matches, 3, 0.5, seeds[1:])
    with pytest.raises(RuntimeError, match="sample_labels: num_samples must be at least 1, got 0"):
        ldie_ext.sample_labels(matches, 0, 0.5, seeds)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="positive_fraction must be between 0 and 1"):
            ldie_ext.sample_labels(matches, 3, fraction, seeds)


def test_dispatcher_contract(backend: Backend) -> None:
    matches, seeds = random_matches(2, 300, 0.2, 0.2).to(backend.device), torch.arange(2, device=backend.device)
    torch.library.opcheck(backend.op("sample_labels"), (matches, seeds, 20, 10))


def test_compiles(backend: Backend) -> None:
    matches, seeds = random_matches(2, 300, 0.2, 0.2).to(backend.device), torch.arange(2, device=backend.device)
    assert_compiles(lambda *tensors: ldie_ext.sample_labels(tensors[0], 20, 0.5, tensors[1]), matches, seeds)


def test_never_waits_for_the_device(backend: Backend) -> None:
    if backend.name != "cuda":
        pytest.skip("only a GPU can be waited for")
    matches, seeds = random_matches(2, 5000, 0.2, 0.2).to(backend.device), torch.arange(2, device=backend.device)
    ldie_ext.sample_labels(matches, 64, 0.5, seeds)
    torch.cuda.set_sync_debug_mode("error")
    try:
        ldie_ext.sample_labels(matches, 64, 0.5, seeds)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_threads_agree() -> None:
    matches = random_matches(5, 30_000, 0.05, 0.1)
    assert_threads_agree(lambda: ldie_ext.sample_labels(matches, 256, 0.5, torch.arange(5)))
