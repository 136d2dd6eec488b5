"""Whether this process keeps the memory of big arrays that it has freed. Nothing here is called by anything else."""

from __future__ import annotations

import ctypes

__all__ = ["keep_pages", "release_pages"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1
"""mallopt() takes an int."""
_ADAPTED = 32 << 20
"""The most to which glibc raises its threshold by itself, as soon as a block of that size is freed."""


def keep_pages(largest: int = 1 << 30) -> bool:
    """Has malloc keep the pages of freed blocks, of all libraries and threads of this process, for the next ones.

    A CPU tensor of 32 MiB or more is memory that malloc asks of the system, and gives back with the tensor. Every page
    of the next one is then new: the system clears it, and stops the program to do so at each. Filling a fresh tensor of
    160 MiB takes 57 ms that way, and 5 ms where pages are kept.

    **What it costs.** Freed memory stays the process's, and more of it than was ever in use at once: small blocks
    settle between big ones and leave gaps that nothing fits. A loop that makes and frees one tensor of 64 MiB comes to
    rest at 0.5 GiB; with ``THP_MEM_ALLOC_ENABLE=1`` in the environment, by which PyTorch leaves room for small blocks
    beside big ones, at 0.13 GiB. A step of Mask R-CNN takes 3.8 GiB in place of 3.1. Where sizes vary it goes on
    growing: with six tensors of together 140 to 480 MiB a step, and thousands of small ones that outlive it, to 2.5 GiB
    after 400 steps and 4.4 GiB after 1600. So it is for programs whose sizes repeat, and off unless it is called. What
    is to be zero gets slower: ``numpy.zeros`` has to write kept pages, where fresh ones are zero untouched.

    Only of glibc's malloc, and only for blocks that the main thread allocates; other threads keep blocks up to 64 MiB.

    Args:
        largest: bytes of the largest block whose pages are kept, and of the free memory at the end of the heap beyond
            which malloc gives it back after all; 32 MiB to 2 GiB - 1.

    Returns:
        Whether malloc does so from now on; False where the C library is not glibc, or one that refuses.

    Raises:
        ValueError: ``largest`` is out of its range.

    Example:
        >>> kept = keep_pages()
        >>> release_pages() == kept
        True
    """
    if not _ADAPTED <= largest <= _MOST:
        raise ValueError(f"largest must be {_ADAPTED} to {_MOST} bytes, got {largest}")
    return _set(largest, largest)


def release_pages() -> bool:
    """Undoes :func:`keep_pages` and gives the system all pages that are free.

    What fits into gaps between blocks in use still goes there, and keeps its pages; every other block of 32 MiB or more
    is fresh memory again. That threshold no longer adapts to what a program frees: it stays where glibc leaves it after
    the first such block.

    Returns:
        Whether malloc does so from now on; False where :func:`keep_pages` returns False.
    """
    libc = _glibc()
    if libc is None or not _set(_ADAPTED, 2 * _ADAPTED):
        return False
    libc.malloc_trim(0)
    return True


def _set(fresh_from: int, free_at_end: int) -> bool:
    libc = _glibc()
    return (
        libc is not None
        and libc.mallopt(_M_MMAP_THRESHOLD, fresh_from) == 1
        and libc.mallopt(_M_TRIM_THRESHOLD, free_at_end) == 1
    )


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, where it is glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # no such library; Windows wants a name
        return None
    if not hasattr(libc, "gnu_get_libc_version"):
        return None
    libc.malloc_trim.argtypes = [ctypes.c_size_t]
    return libc
