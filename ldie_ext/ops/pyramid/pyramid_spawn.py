"""Where a mask pyramid's next level gives birth to hypotheses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["PyramidSpawn", "pyramid_spawn"]


class PyramidSpawn(NamedTuple):
    """The cells of each of B images that nobody claims."""

    cells: Tensor
    """int64 [B, capacity], ``y * w + x``, the least covered first; -1 in unused places."""
    counts: Tensor
    """int64 [B], how many cells each image has."""


def pyramid_spawn(
    coverage: Tensor,
    alive: Tensor,
    *,
    capacity: int,
    max_alive: int,
    threshold: float = 0.2,
    min_spawn: int = 0,
) -> PyramidSpawn:
    """The least covered cells of each image, where new instance hypotheses begin.

    The cells of an image stand in order of their coverage ``c``, the lowest first and of equal ones the lower index
    ``y * w + x``. The one in place ``r = 0, 1, ...`` is taken where

    ``r < min(capacity, max_alive - A_b)`` and (``c < threshold`` or (``r < min_spawn`` and ``c < 1``))

    with ``A_b`` the number of the image's hypotheses that are alive: all cells below the threshold, besides these as
    many of the lowest as make up ``min_spawn``, and never more than there is room for. A NaN counts as covered.
    Thresholds are compared in the type that the coverage is computed in, float32 for 16 bits.

    Shapes do not depend on data and nothing waits for the device.

    Args:
        coverage: float32, float64, float16 or bfloat16 [B, h, w], the share of a cell that is claimed, from 0 to 1, as
            :func:`ldie_ext.pyramid_coverage` gives it; fewer than 2^31 cells an image.
        alive: bool [B, A], which hypotheses there are already.
        capacity: places for new ones of each image, at least 1.
        max_alive: how many may be alive of an image, the new ones included, 0 or more.
        threshold: cells with less coverage are taken, any number but NaN.
        min_spawn: take at least as many, as far as there are cells with coverage below 1; 0 or more.

    Returns:
        cells and counts as :class:`PyramidSpawn`. An image without room or without such cells has -1 everywhere and
        count 0; where more are alive than ``max_alive``, there is no room.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or a number is out of its range.

    Differentiable: no. Deterministic: yes.

    Source: the growth step of a mask pyramid, in which pixels below a low threshold begin hypotheses of their own.
    Native code: csrc/pyramid/pyramid_spawn.h

    Example:
        >>> coverage = torch.tensor([[[0.9, 0.1, 0.3], [0.05, 0.1, 1.0]]])
        >>> alive = torch.tensor([[True, False, True, False, False, False]])
        >>> pyramid_spawn(coverage, alive, capacity=4, max_alive=6)
        PyramidSpawn(cells=tensor([[ 3,  1,  4, -1]]), counts=tensor([3]))
        >>> pyramid_spawn(coverage, alive, capacity=4, max_alive=4).counts
        tensor([2])
        >>> pyramid_spawn(coverage, alive, capacity=4, max_alive=6, threshold=0.07, min_spawn=2).cells
        tensor([[ 3,  1, -1, -1]])
    """
    return PyramidSpawn(*_library.ops.pyramid_spawn(coverage, alive, capacity, max_alive, threshold, min_spawn))


def _fake(
    coverage: Tensor, alive: Tensor, capacity: int, max_alive: int, threshold: float, min_spawn: int
) -> tuple[Tensor, Tensor]:
    batch = coverage.shape[0]
    return alive.new_empty((batch, capacity), dtype=torch.int64), alive.new_empty(batch, dtype=torch.int64)


register("pyramid_spawn", fake=_fake, discrete=True)
