"""Every planted bug is caught in the modes that must catch it, and its correct twin is silent in all of them."""

from __future__ import annotations

import re

import pytest
from emulator.harness import SCHEDULES, planted, run_under_asan

#: What the emulator itself says in every mode: threads that wait for each other in vain, calls that mean nothing.
REFUSED = {
    "exit_before_barrier": r"left the kernel without reaching a __syncthreads .*\n.* 64 threads, first \(0,0,0\)",
    "barriers_in_two_branches": r"threads wait at different __syncthreads\n.*barriers\.cu:\d+\n.*barriers\.cu:\d+",
    "barrier_in_uneven_loop": r"left the kernel without reaching a __syncthreads",
    "half_warp_at_barrier": r"deadlock.*\n.*in __syncthreads at .*\n.*in __shfl_sync with mask 0xffffffff",
    "mask_names_absent_lanes": r"names lanes in its mask that have left the kernel",
    "mask_without_own_lane": r"thread \(31,0,0\) calls __any_sync with a mask that leaves out its own lane",
    "shuffle_from_outside_mask": r"thread \(8,0,0\) reads lane 16 in a shuffle, but that lane does not take part",
    "different_warp_functions": r"lanes of one warp wait in different warp functions",
    "dynamic_shared_not_asked_for": r"thread \(0,0,0\) uses dynamic shared memory, but the launch asked for none",
}

#: What AddressSanitizer and UndefinedBehaviorSanitizer say.
SANITIZED = {
    "shared_overrun": r"index 256 out of bounds",
    "shared_overrun_by_pointer": r"use-after-poison",
    "dynamic_shared_overrun": r"use-after-poison",
    "shared_underrun_write": r"index -1 out of bounds",
    "global_overrun": r"heap-buffer-overflow",
    "global_overrun_write": r"heap-buffer-overflow",
    "misaligned_vector": r"misaligned address",
    "index_overflow": r"signed integer overflow",
}

#: What the race checker says.
RACES = {
    "no_barrier_before_read_above": r"data race on shared 'values' byte \d+",
    "no_barrier_before_read_below": r"data race on shared 'values' byte \d+",
    "no_barrier_before_reuse": r"data race on shared 'values' byte \d+",
    "no_syncwarp": r"data race on shared 'values' byte \d+",
    "plain_histogram": r"data race on shared 'count' byte \d+",
    "plain_sum_over_blocks": r"data race on global memory",
    "everyone_stores_the_flag": r"data race on global memory",
    "reads_other_blocks": r"data race on global memory",
    "last_block_without_fence": r"data race on global memory",
    "last_block_without_barrier": r"data race on global memory",
    "stored_after_the_fence": r"data race on global memory",
    "only_the_leader_fences": r"data race on global memory",
    "last_warp_without_syncwarp": r"data race on global memory",
    "plain_read_of_counter": r"data race on global memory",
    "reads_before_last_block": r"data race on global memory",
    "shared_never_written": r"read of shared 'values' byte \d+, which this block never wrote",
    "shared_overrun": r"access to shared memory outside every array",
    "shared_overrun_by_pointer": r"access to shared memory outside every array",
    "dynamic_shared_overrun": r"access to shared memory outside every array",
    "shared_underrun_write": r"access to shared memory outside every array",
}

#: Races that show without a checker too, because the result depends on who comes first.
ORDER_DEPENDENT = (
    "no_barrier_before_read_above",
    "no_barrier_before_read_below",
    "no_barrier_before_reuse",
    "no_syncwarp",
    "reads_other_blocks",
)

WHERE = r"kernel {name}<true>, block \(\d+,0,0\)"


def test_every_planted_bug_has_a_mode_that_must_catch_it() -> None:
    assert set(planted("plain").names()) == REFUSED.keys() | SANITIZED.keys() | RACES.keys()


@pytest.mark.parametrize("mode", ["plain", "race"])
@pytest.mark.parametrize("name", REFUSED)
def test_emulator_refuses(mode: str, name: str) -> None:
    error, _ = planted(mode).run(name, bug=True)
    assert re.search(WHERE.format(name=name), error), error
    assert re.search(REFUSED[name], error), error
    assert "tests/emulator/planted/barriers.cu:" in error or "tests/emulator/planted/memory.cu:" in error, error


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("name", REFUSED)
def test_emulator_refuses_in_any_order(name: str, order: str) -> None:
    error, _ = planted("plain").run(name, bug=True, order=order)
    assert re.search(WHERE.format(name=name), error), error


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("name", RACES)
def test_race_checker_reports_in_any_order(name: str, order: str) -> None:
    error, _ = planted("race").run(name, bug=True, order=order)
    assert re.search(WHERE.format(name=name) + ": " + RACES[name], error), error
    place = r"by thread \(\d+,0,0\)( of block \(\d,0,0\))? at tests/emulator/planted/\w+\.cu:\d+$"
    assert re.search(place, error), error


@pytest.mark.parametrize("name", SANITIZED)
def test_sanitizers_report(name: str) -> None:
    done = run_under_asan(name, bug=True)
    assert done.returncode != 0
    assert re.search(SANITIZED[name], done.stderr), done.stderr
    assert "tests/emulator/planted/memory.cu:" in done.stderr, done.stderr
    line = rf"The error is in {WHERE.format(name=name)}, thread \(\d+,0,0\)"
    assert re.search(line, done.stderr), done.stderr


@pytest.mark.parametrize("name", ORDER_DEPENDENT)
def test_schedules_change_the_result(name: str) -> None:
    results = [planted("plain").run(name, bug=True, order=order)[1] for order in SCHEDULES]
    assert any(result != results[0] for result in results[1:])


@pytest.mark.parametrize("mode", ["plain", "race"])
def test_correct_twins_are_silent(mode: str) -> None:
    kernels = planted(mode)
    for name in kernels.names():
        runs = [kernels.run(name, bug=False, order=order) for order in SCHEDULES]
        assert [error for error, _ in runs] == [""] * len(SCHEDULES)
        assert all(results == runs[0][1] for _, results in runs), name


def test_correct_twins_are_silent_under_the_sanitizers() -> None:
    done = run_under_asan(*planted("plain").names(), bug=False)
    assert done.returncode == 0, done.stderr


def test_bug_refused_under_the_sanitizers_too() -> None:
    done = run_under_asan("exit_before_barrier", bug=True)
    assert done.returncode == 3
    assert re.search(REFUSED["exit_before_barrier"], done.stderr), done.stderr


def test_errors_leave_the_emulator_usable() -> None:
    for mode in ("plain", "race"):
        _, expected = planted(mode).run("no_barrier_before_reuse", bug=False)
        for name in REFUSED:
            assert planted(mode).run(name, bug=True)[0]
            assert planted(mode).run("no_barrier_before_reuse", bug=False) == ("", expected)
