"""Whether the operators keep the memory of big CPU tensors that were freed. Nothing is kept unless it is asked for."""

from __future__ import annotations

import ctypes

from ldie_ext import _library

__all__ = ["keep_pages", "release_pages"]


def keep_pages(limit: int = 1 << 30) -> bool:
    """Keeps the memory of the operators' freed CPU tensors of 32 MiB and more for the next ones.

    Memory of that size is asked of the system for each tensor and given back with it. Every page of the next one is
    then new: the system clears it, and stops the program to do so, which takes longer than the arithmetic of most
    operators. Kept pages are only written. Outputs, gradients and scratch memory of all operators of this process take
    part, in any thread. Tensors that PyTorch itself makes do not (copies of inputs in another order, too), nor do
    outputs that stay mostly zero (``center_heatmap``, ``paste_masks``), whose untouched pages cost nothing.

    **What it costs.** At most ``limit`` bytes stay the process's while no tensor uses them: what was freed first goes
    first. A tensor may sit in a kept block up to a quarter larger than itself. Its storage cannot be resized, and
    ``torch.profiler`` does not see its allocation. Off unless it is called; ``ldie`` calls it, for the CPU.

    Args:
        limit: bytes that may stay unused, at least 0; 0 is :func:`release_pages`.

    Returns:
        Whether the library can; False where the system is not Linux.

    Raises:
        ValueError: ``limit`` is negative or does not fit an int64.

    Example:
        >>> kept = keep_pages()
        >>> release_pages() == kept
        True
    """
    if not 0 <= limit < 2**63:
        raise ValueError(f"limit must be at least 0 bytes and below 2^63, got {limit}")
    return bool(ctypes.CDLL(str(_library.cpu_path())).ldie_keep_pages(ctypes.c_int64(limit)))


def release_pages() -> bool:
    """Gives unused pages back to the system, and keeps none from now on.

    Returns:
        What :func:`keep_pages` returns.
    """
    return keep_pages(0)
