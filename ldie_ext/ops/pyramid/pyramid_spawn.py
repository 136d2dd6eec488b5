"""Where a mask pyramid's next level gives birth to hypotheses."""

from __future__ import annotations

from typing import Any, NamedTuple

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
    places: Tensor
    """float32 [B, capacity, 2], x y of the middles of these cells in the unit of ``step``; NaN in unused places."""


def pyramid_spawn(
    coverage: Tensor,
    alive: Tensor,
    *,
    capacity: int,
    max_alive: int,
    threshold: float = 0.2,
    min_spawn: int = 0,
    guide: Tensor | None = None,
    step: float = 1.0,
) -> PyramidSpawn:
    """The least covered cells of each image, where new instance hypotheses begin.

    The cells of an image stand in order of their coverage ``c``, the lowest first and of equal ones the lower index
    ``y * w + x``. The one in place ``r = 0, 1, ...`` is taken where

    ``r < min(capacity, max_alive - A_b)`` and (``c < threshold`` or (``r < min_spawn`` and ``c < 1``))

    with ``A_b`` the number of the image's hypotheses that are alive: all cells below the threshold, besides these as
    many of the lowest as make up ``min_spawn``, and never more than there is room for. A NaN counts as covered.
    Thresholds are compared in the type that the coverage is computed in, float32 for 16 bits.

    A ``guide`` says where there is something to cover. What a cell has free counts by the share of an object there, for
    all of the above:

    ``c = 1 - sigmoid(max_k guide_k) (1 - coverage)``

    The middle of cell (i, j) is the place ``((j + 1/2) step, (i + 1/2) step)``.

    Shapes do not depend on data and nothing waits for the device.

    Args:
        coverage: float32, float64, float16 or bfloat16 [B, h, w], the share of a cell that is claimed, from 0 to 1, as
            :func:`ldie_ext.pyramid_coverage` gives it; fewer than 2^31 cells an image.
        alive: bool [B, A], which hypotheses there are already.
        capacity: places for new ones of each image, at least 1.
        max_alive: how many may be alive of an image, the new ones included, 0 or more.
        threshold: cells with less coverage are taken, any number but NaN.
        min_spawn: take at least as many, as far as there are cells with coverage below 1; 0 or more.
        guide: float [B, K, h, w], logits of where objects are, of each of K >= 1 classes; computed with in the type of
            the coverage. A NaN in it: the cell counts as covered.
        step: the side of a cell in the unit of the places, above 0 and finite: 1 for cells, a level's stride for
            pixels of the image.

    Returns:
        cells, counts and places as :class:`PyramidSpawn`. An image without room or without such cells has -1 (NaN)
        everywhere and count 0; where more are alive than ``max_alive``, there is no room.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or a number is out of its range.

    Differentiable: no. Deterministic: yes.

    Source: the growth step of a mask pyramid, in which pixels below a low threshold begin hypotheses of their own. The
    guide multiplies probabilities, of there being an object and of nobody claiming it.
    Native code: csrc/pyramid/pyramid_spawn.h

    Example:
        >>> coverage = torch.tensor([[[0.9, 0.1, 0.3], [0.05, 0.1, 1.0]]])
        >>> alive = torch.tensor([[True, False, True, False, False, False]])
        >>> spawn = pyramid_spawn(coverage, alive, capacity=4, max_alive=6, step=8.0)
        >>> spawn.cells, spawn.counts
        (tensor([[ 3,  1,  4, -1]]), tensor([3]))
        >>> spawn.places
        tensor([[[ 4., 12.],
                 [12.,  4.],
                 [12., 12.],
                 [nan, nan]]])
        >>> pyramid_spawn(coverage, alive, capacity=4, max_alive=4).counts
        tensor([2])
        >>> pyramid_spawn(coverage, alive, capacity=4, max_alive=6, threshold=0.07, min_spawn=2).cells
        tensor([[ 3,  1, -1, -1]])
        >>> guide = torch.tensor([[[[9.0, -9.0, -9.0], [0.0, 9.0, 9.0]]]])  # no object in cell 1, half of one in cell 3
        >>> pyramid_spawn(coverage, alive, capacity=4, max_alive=6, guide=guide).cells
        tensor([[ 4, -1, -1, -1]])
    """
    return PyramidSpawn(
        *_library.ops.pyramid_spawn(coverage, alive, guide, capacity, max_alive, threshold, min_spawn, float(step))
    )


def _fake(
    coverage: Tensor,
    alive: Tensor,
    guide: Tensor | None,
    capacity: int,
    max_alive: int,
    threshold: float,
    min_spawn: int,
    step: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch = coverage.shape[0]
    return (
        alive.new_empty((batch, capacity), dtype=torch.int64),
        alive.new_empty(batch, dtype=torch.int64),
        coverage.new_empty((batch, capacity, 2), dtype=torch.float32),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output)


register("pyramid_spawn", fake=_fake, setup_context=_setup_context)
