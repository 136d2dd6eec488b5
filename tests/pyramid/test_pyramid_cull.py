"""pyramid_cull against sorted lists of slots, on every backend."""

from __future__ import annotations

import math

import pytest
import reference.pyramid_selection as reference
import torch
from backends import Backend, emulated_launches
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def assert_matches_reference(backend: Backend, present: Tensor, scores: Tensor, capacity: int) -> None:
    cull = ldie_ext.pyramid_cull(present.to(backend.device), scores.to(backend.device), capacity)
    assert (cull.slots.tolist(), cull.counts.tolist()) == reference.pyramid_cull(present, scores, capacity)


def random_slots(batch: int, count: int, share: float = 0.6) -> tuple[Tensor, Tensor]:
    """Which are present, and their scores."""
    return torch.rand(batch, count) < share, torch.randn(batch, count)


@pytest.mark.parametrize("part", range(5))
def test_random_cases(backend: Backend, part: int) -> None:
    """Few different scores or many, some of them NaN or infinite."""
    for case in range(part, 500, 5):
        batch, count, capacity = (int(torch.randint(high, ())) for high in (4, 120, 100))
        present, scores = random_slots(batch, count, float(torch.rand(())))
        if case % 3:
            scores = (scores * 3).round()
        if case % 2:
            scores[torch.rand(batch, count) < 0.3] = (math.nan, math.inf, -math.inf)[case % 3]
        assert_matches_reference(backend, present, scores.to(FLOATS[case % 4]), capacity + 1)


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", FLOATS)
def test_matches_reference(backend: Backend, dtype: torch.dtype) -> None:
    present, scores = random_slots(3, 80)
    for capacity in (1, 20, 79, 80, 81, 200):
        assert_matches_reference(backend, present, scores.to(dtype), capacity)


def test_many_slots(backend: Backend) -> None:
    """More than a block has threads, and than are looked at before the first are cut."""
    present, scores = random_slots(2, 3000)
    for capacity in (1, 700, 2999):
        assert_matches_reference(backend, present, scores, capacity)


def test_equal_scores_by_slot(backend: Backend) -> None:
    """Zeros of both signs are equal."""
    present = torch.ones(2, 50, dtype=torch.bool)
    scores = torch.zeros(2, 50)
    scores[1, ::2] = -0.0
    slots = ldie_ext.pyramid_cull(present.to(backend.device), scores.to(backend.device), 7).slots
    assert slots.tolist() == [list(range(7))] * 2


def test_nan_is_kept_after_every_number(backend: Backend) -> None:
    """It is a present slot like others, and comes before those that are not there, whatever these score."""
    present = torch.tensor([[True, True, False, True, True, False]], device=backend.device)
    scores = torch.tensor([[math.nan, -math.inf, 5.0, math.nan, 1.0, math.inf]], device=backend.device)
    kept = [ldie_ext.pyramid_cull(present, scores, capacity).slots[0].tolist() for capacity in range(1, 6)]
    assert kept == [[4], [1, 4], [0, 1, 4], [0, 1, 3, 4], [0, 1, 3, 4, -1]]


def test_packs_without_changing_the_order(backend: Backend) -> None:
    present, scores = random_slots(3, 60)
    slots, counts = ldie_ext.pyramid_cull(present.to(backend.device), scores.to(backend.device), 60)
    assert counts.tolist() == present.sum(1).tolist()
    assert [row[row >= 0].tolist() for row in slots] == [row.nonzero().flatten().tolist() for row in present]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 1)])
@pytest.mark.parametrize("share", [0.0, 1.1])
def test_shapes(backend: Backend, shape: tuple[int, int], share: float) -> None:
    assert_matches_reference(backend, *random_slots(*shape, share), 4)


def test_batch_is_its_images(backend: Backend) -> None:
    present, scores = (each.to(backend.device) for each in random_slots(5, 90))
    together = ldie_ext.pyramid_cull(present, scores, 40)
    alone = [ldie_ext.pyramid_cull(present[i : i + 1], scores[i : i + 1], 40) for i in range(5)]
    assert_same(tuple(together), tuple(torch.cat(parts) for parts in zip(*alone, strict=True)))


def test_non_contiguous(backend: Backend) -> None:
    present, scores = (each.to(backend.device) for each in random_slots(4, 33))
    strided = present.t().contiguous().t(), scores.repeat_interleave(2, 1)[:, ::2]
    assert_same(tuple(ldie_ext.pyramid_cull(*strided, 9)), tuple(ldie_ext.pyramid_cull(present, scores, 9)))


def test_takes_no_gradient(backend: Backend) -> None:
    present, scores = (each.to(backend.device) for each in random_slots(2, 9))
    assert not any(each.requires_grad for each in ldie_ext.pyramid_cull(present, scores.requires_grad_(), 4))


def test_errors_name_the_argument(backend: Backend) -> None:
    present, scores = (each.to(backend.device) for each in random_slots(2, 9))

    def expect(message: str, present: Tensor = present, scores: Tensor = scores, capacity: int = 4) -> None:
        with pytest.raises(RuntimeError, match=f"pyramid_cull: {message}"):
            ldie_ext.pyramid_cull(present, scores, capacity)

    expect(r"present must have shape \[B, A\], got \[9\] bool", present[0])
    expect("present must be bool, got .* int64", present.long())
    expect("scores must be float32, float64, float16 or bfloat16, got .* int64", scores=scores.long())
    expect(r"scores must have the shape of present, \[2, 9\] bool, got \[2, 8\]", scores=scores[:, 1:])
    expect("capacity must be at least 1, got 0", capacity=0)


def test_dispatcher_contract(backend: Backend) -> None:
    present, scores = (each.to(backend.device) for each in random_slots(2, 30))
    torch.library.opcheck(backend.op("pyramid_cull"), (present, scores, 12))


def test_compiles(backend: Backend) -> None:
    present, scores = (each.to(backend.device) for each in random_slots(2, 30))
    assert_compiles(lambda *tensors: tuple(ldie_ext.pyramid_cull(*tensors, 12)), present, scores)


def test_one_launch(backend: Backend) -> None:
    if backend.name != "emulated":
        pytest.skip("only the emulator counts launches")
    before = emulated_launches()
    ldie_ext.pyramid_cull(*random_slots(3, 80), 40)
    assert emulated_launches() - before == 1


def test_threads_agree() -> None:
    present, scores = random_slots(200, 100)
    assert_threads_agree(lambda: tuple(ldie_ext.pyramid_cull(present, scores, 30)))
