"""ldie_ext.memory, in processes of its own: it is about all of a process."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from ldie_ext import memory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="keeps pages on Linux alone")
HELPERS = """
import resource
import torch
import ldie_ext
from ldie_ext import memory

MAPS = torch.randn(1, 64, 64, 64)
BOXES = torch.tensor([[0, 4, 4, 60, 60]]).float()

def call(count=700):
    '''An output of count * 49 KiB: 33.5 MiB of 700.'''
    return ldie_ext.roi_align(MAPS, BOXES.expand(count, 5).contiguous(), 14)

def faults(count=5):
    '''Page faults of a call, over the 4 KiB pages of its output; huge pages are a fault each.'''
    for _ in range(3):
        pages = call().nbytes / resource.getpagesize()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / count / pages

def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()
"""


def run(code: str) -> None:
    subprocess.run(
        [sys.executable, "-c", HELPERS + textwrap.dedent(code)], check=True, timeout=120,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip


@LINUX
def test_pages_are_kept_until_they_are_released() -> None:
    run("""
        fresh = faults()
        assert memory.keep_pages()
        kept, most = faults(), resident()
        assert kept < 1e-4 < fresh, (kept, fresh)
        assert memory.release_pages()
        assert most - resident() > 30 << 20, (most, resident())
        assert faults() > 1e-4
    """)


@LINUX
def test_results_are_the_same() -> None:
    """In kept blocks stands what was there before, and every format has its strides."""
    run("""
        expected = call()
        maps = MAPS.repeat(2, 1, 1, 1).to(memory_format=torch.channels_last).requires_grad_()
        def step():
            output = ldie_ext.roi_align(maps, BOXES.expand(1400, 5).contiguous(), 14)
            return output.detach(), *torch.autograd.grad(output.square().sum(), maps)
        before = step()
        memory.keep_pages()
        for _ in range(3):
            assert torch.equal(call(), expected)
            after = step()
            assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(after, before))
    """)


@LINUX
def test_sizes_that_vary_stay_below_the_limit() -> None:
    run("""
        limit = 100 << 20
        memory.keep_pages(limit)
        before = resident()
        for step in range(60):
            held = call(700 + step * 37 % 900)
        assert resident() - before < limit + 2 * held.nbytes + (64 << 20), (resident() - before) >> 20
    """)


@LINUX
def test_a_kept_tensor_outlives_the_pool() -> None:
    run("""
        memory.keep_pages()
        one = call()
        copy = one.clone()
        memory.release_pages()
        call()
        assert torch.equal(one, copy)
        del one
        assert torch.equal(call(), copy)
    """)


@LINUX
def test_kept_blocks_make_room() -> None:
    """Where the system has no more memory, unused blocks go before an op fails."""
    run("""
        memory.keep_pages()
        outputs = [call() for _ in range(8)]
        larger = 3 * outputs[0].nbytes
        del outputs
        with open('/proc/self/statm') as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + larger // 2, -1))
        assert call(2100).nbytes == larger
    """)


@LINUX
def test_threads_share_the_pool() -> None:
    run("""
        from concurrent.futures import ThreadPoolExecutor

        memory.keep_pages()
        expected = call()
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda _: torch.equal(call(), expected), range(24)))
    """)


@LINUX
def test_nothing_is_kept_unasked() -> None:
    """Neither importing the library nor calling an op keeps anything."""
    run("""
        before = resident()
        for _ in range(3):
            call()
        assert resident() - before < 32 << 20
    """)


@pytest.mark.parametrize("limit", [-1, 2**63])
def test_limits(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"limit must be at least 0 bytes and below 2\^63, got {limit}"):
        memory.keep_pages(limit)
