"""CUDA's built-ins against their definitions, in the plain and the race mode."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from emulator.harness import SCHEDULES, planted, schedule

LANES = np.arange(32)


@pytest.fixture(params=["plain", "race"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


def run(mode: str, name: str, data: np.ndarray, argument: int = 0) -> str:
    """Runs a kernel of planted/semantics.cu on the array; returns its error."""
    error = planted(mode).library.semantics_run(name.encode(), data.ctypes.data_as(ctypes.c_void_p), argument)
    return error.decode() if error else ""


def bits(lanes: np.ndarray) -> int:
    return int(np.sum(lanes.astype(np.uint64) << LANES.astype(np.uint64)))


@pytest.mark.parametrize("width", [32, 16, 8])
def test_shuffles(mode: str, width: int) -> None:
    out = np.zeros((32, 4), np.int32)
    assert run(mode, "shuffles", out, width) == ""
    start, lane = LANES // width * width, LANES % width
    assert (out[:, 0] == start + 5 % width).all()
    assert (out[:, 1] == np.where(lane >= 3, LANES - 3, LANES)).all()
    assert (out[:, 2] == np.where(lane + 3 < width, LANES + 3, LANES)).all()
    assert (out[:, 3] == LANES ^ 6).all()


def test_shuffles_carry_types_of_8_and_4_and_2_bytes(mode: str) -> None:
    out = np.zeros((32, 4))
    assert run(mode, "shuffles_by_size", out) == ""
    source = 31 - LANES
    assert (out == np.stack([source + 0.25, source * 2.0**40, source + 0.5, source], 1)).all()


def test_votes(mode: str) -> None:
    out = np.zeros((32, 6), np.uint32)
    assert run(mode, "votes", out) == ""
    assert (out[:, 0] == bits(LANES % 3 == 0)).all()
    assert (out[:, 1] == 1).all() and (out[:, 2] == 0).all()
    assert (out[:, 3] == [bits(lane % 5 == LANES % 5) for lane in LANES]).all()
    assert (out[:, 4] == 0xFFFFFFFF).all() and (out[:, 5] == 0).all()


@pytest.mark.parametrize("order", SCHEDULES)
def test_votes_of_a_block(mode: str, order: str) -> None:
    out = np.zeros((2, 96, 3), np.int32)
    with schedule(order):
        assert run(mode, "block_votes", out) == ""
    assert (out == np.array([[32, 0, 0], [32, 1, 1]])[:, None]).all()


def test_reductions(mode: str) -> None:
    out = np.zeros(9, np.uint32)
    assert run(mode, "reductions", out) == ""
    values = ((LANES * 7) % 32 - 10).astype(np.int32)
    words, masks = values.view(np.uint32), (np.uint32(1) << LANES.astype(np.uint32)) | np.uint32(1 << 31)
    signed = np.array([values.sum(), values.min(), values.max()], np.int32).view(np.uint32)
    unsigned = np.array([words.sum(dtype=np.uint32), words.min(), words.max()], np.uint32)
    combined = [f.reduce(masks) for f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor)]
    assert out.tolist() == [*signed, *unsigned, *combined]


@pytest.mark.parametrize("order", SCHEDULES)
def test_halves_of_a_warp_go_their_own_ways(mode: str, order: str) -> None:
    out = np.zeros(32, np.int32)
    with schedule(order):
        assert run(mode, "half_warps", out) == ""
    assert out.tolist() == [120] * 16 + [31] * 16


def test_lanes_that_never_were_or_have_left(mode: str) -> None:
    partial, left = np.zeros(48, np.uint32), np.zeros(64, np.uint32)
    assert run(mode, "partial_warp", partial) == ""
    assert partial.tolist() == [0xFFFFFFFF] * 32 + [0xFFFF] * 16
    assert run(mode, "early_exit", left) == ""
    assert left.tolist() == [0xFFFFFFFF] * 32 + [0xFF] * 8 + [0] * 24


def test_three_dimensions(mode: str) -> None:
    out = np.full((12, 24), -1, np.int32)
    assert run(mode, "dimensions", out) == ""
    assert (out == np.arange(12)[:, None] * 1000 + np.arange(24)).all()


@pytest.mark.parametrize("order", SCHEDULES)
def test_shared_memory_is_one_per_block_and_place(mode: str, order: str) -> None:
    out = np.zeros((3, 32), np.int32)
    with schedule(order):
        assert run(mode, "shared_memory", out) == ""
    other = 31 - LANES
    assert (out == 1000 * np.arange(3)[:, None] + 4 * other + 1).all()


ATOMICS = np.dtype(
    [("i", np.int32, 6), ("u", np.uint32, 4), ("d", np.float64), ("l", np.int64), ("ul", np.uint64), ("f", np.float32)],
    align=True,
)


@pytest.mark.parametrize("order", SCHEDULES)
def test_atomics(mode: str, order: str) -> None:
    data = np.zeros(1, ATOMICS)
    data["i"][0, 2], data["u"][0, 1] = 5, 0xFFFF
    with schedule(order):
        assert run(mode, "atomics", data) == ""
    result = data[0]
    assert result["i"].tolist() == [256, 63, -63, 42, 7, -512]
    assert result["u"].tolist() == [0xFFFFFFFF, 0xFF00, 0, 256 % 100]
    assert result["f"] == 128.0 and result["d"] == 64.0
    assert result["l"] == -(2**41) and result["ul"] == 63 << 40


@pytest.mark.parametrize("order", SCHEDULES)
def test_compare_and_swap_loop(mode: str, order: str) -> None:
    data = np.zeros(1, np.float32)
    with schedule(order):
        assert run(mode, "compare_and_swap_loop", data) == ""
    assert data[0] == 63.0


def test_intrinsics(mode: str) -> None:
    out = np.zeros(16)
    assert run(mode, "intrinsics", out) == ""
    expected = [8, 64, 4, 41, 31, 63, 2**31, 0x3F800000, 0.5, 8, 2, 2**31 - 1, -3, 3, 1, 10]
    assert out.tolist() == expected


@pytest.mark.parametrize(("name", "dtype"), [("half_sum", "float16"), ("bfloat16_sum", "bfloat16")])
def test_16_bit_types(mode: str, name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    values = torch.linspace(-3, 5, 256)
    data = values.numpy().copy()
    assert run(mode, name, data) == ""
    assert data[0] == np.cumsum(values.to(getattr(torch, dtype)).float().numpy())[-1]


def test_schedules_order_the_threads(mode: str) -> None:
    def order_of(name: str) -> list[int]:
        out = np.zeros(1 + 3 * 32, np.int32)
        with schedule(name):
            assert run(mode, "order_of_threads", out, 3) == ""
        assert out[0] == 96
        return out[1:].tolist()

    forward = list(range(96))
    assert order_of("forward") == forward
    assert order_of("reverse") == forward[::-1]
    shuffled = order_of("random:1")
    assert sorted(shuffled) == forward and shuffled not in (forward, forward[::-1])
    assert order_of("random:1") == shuffled and order_of("random:2") != shuffled


def test_launches_from_several_threads_take_turns(mode: str) -> None:
    def launch(_: int) -> bool:
        out = np.zeros((3, 32), np.int32)
        return run(mode, "shared_memory", out) == "" and bool((out[1] == out[0] + 1000).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(launch, range(200)))


def test_trap_names_the_thread(mode: str) -> None:
    error = run(mode, "trap", np.zeros(1), 9)
    assert error.startswith("kernel trap, block (0,0,0), thread (9,0,0) __trap at tests/emulator/planted/semantics.cu:")


def test_launches_that_cannot_be(mode: str) -> None:
    error = run(mode, "threads", np.zeros(1), 1025)
    assert error.startswith("launch of nothing failed: invalid configuration: a block has at most 1024 threads")
    assert run(mode, "threads", np.zeros(1), 1024) == ""
    assert "the block has no threads" in run(mode, "threads", np.zeros(1), 0)
    assert run(mode, "blocks", np.zeros(1), 0) == "", "a grid without blocks is nothing to do"
    assert run(mode, "dynamic_bytes", np.zeros(1), 227 * 1024) == ""
    assert "a block has at most 227 KiB of shared memory" in run(mode, "dynamic_bytes", np.zeros(1), 227 * 1024 + 1)
    error = run(mode, "too_much_static_shared", np.zeros(32, np.int32))
    assert "needs more than 48 KiB of static shared memory at tests/emulator/planted/semantics.cu:" in error
    with schedule("sideways"):
        assert "SIMT_SCHEDULE must be forward, reverse or random:<seed>, not 'sideways'" in run(
            mode, "blocks", np.zeros(1), 1
        )
