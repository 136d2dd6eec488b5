"""ldie_ext.memory, in processes of its own: it is about all of a process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import pytest

from ldie_ext import memory

GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
HELPERS = """
import resource
import torch

PAGES = (64 << 20) // resource.getpagesize()

def write():
    torch.empty(64 << 20, dtype=torch.uint8).fill_(1)

def faults(count=5):
    '''Page faults of a tensor of 64 MiB that is made, written and freed, over the pages that it has.'''
    for _ in range(30):  # until malloc has found it a place
        write()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        write()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / count / PAGES

def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()
"""


def run(code: str) -> None:
    """Runs it in an environment without settings of malloc or torch."""
    subprocess.run(
        [sys.executable, "-c", HELPERS + textwrap.dedent(code)], check=True, timeout=120,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip


@pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
def test_pages_are_kept_until_they_are_released() -> None:
    run("""
        from ldie_ext import memory

        fresh = faults()
        assert memory.keep_pages()
        kept, most = faults(), resident()
        assert kept < 0.01 < fresh, (kept, fresh)
        assert memory.release_pages()
        assert most - resident() > 60 << 20, (most, resident())
    """)


@pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
def test_undone_before_anything_was_kept() -> None:
    run("""
        from ldie_ext import memory

        fresh = faults()
        assert memory.keep_pages()
        assert memory.release_pages()
        assert faults() > 0.5 * fresh
    """)


@pytest.mark.skipif(not GLIBC, reason="glibc's malloc")
def test_larger_blocks_are_given_back() -> None:
    run("""
        from ldie_ext import memory

        fresh = faults()
        assert memory.keep_pages(largest=48 << 20)
        assert faults() > 0.5 * fresh
    """)


def test_nothing_is_kept_unasked() -> None:
    """Neither importing the library nor calling an op changes how the process allocates."""
    run("""
        import sys

        fresh = faults()
        import ldie_ext
        ldie_ext.nms(torch.rand(100, 4), torch.rand(100), 0.5)
        assert faults() > 0.5 * fresh
        assert "ldie_ext.memory" not in sys.modules
    """)


@pytest.mark.parametrize("largest", [0, (32 << 20) - 1, 2**31])
def test_limits(largest: int) -> None:
    with pytest.raises(ValueError, match=rf"largest must be 33554432 to 2147483647 bytes, got {largest}"):
        memory.keep_pages(largest)


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """As musl is: without glibc's names."""

    def missing(name: None) -> None:
        raise TypeError

    for load in (lambda name: Other(), missing):
        monkeypatch.setattr(memory.ctypes, "CDLL", load)
        assert memory.keep_pages() is False
        assert memory.release_pages() is False
