"""SOLO's assignment of objects to the cells of its grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["SoloTargets", "solo_assign"]

CONVENTIONS = ("official", "seed")
ORDERS = ("given", "area")


class SoloTargets(NamedTuple):
    """What the cells of all grids of an image are to predict; level by level, each row by row."""

    labels: Tensor
    """int64 [B, M], the class of the cell's object; -1 where it has none."""
    instances: Tensor
    """int64 [B, M], the row of the cell's object among all objects of the batch; -1 where it has none."""


def solo_assign(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor,
    areas: Tensor,
    offsets: Tensor,
    size: tuple[int, int],
    grids: Sequence[int],
    scale_ranges: Sequence[tuple[float, float]],
    *,
    sigma: float = 0.2,
    convention: Literal["official", "seed"] = "official",
    clamp: bool | None = None,
    order: Literal["given", "area"] | None = None,
    masks: Tensor | None = None,
    packed_width: int | None = None,
) -> SoloTargets:
    """Classes and objects of the cells of SOLO's grids, for all levels and images of a batch in one launch.

    A level with a grid of S x S cells takes the objects with ``low <= sqrt(w * h) <= high``; levels may overlap. Such
    an object gets the cells from that of ``centre - sigma / 2 * (w, h)`` to that of ``centre + sigma / 2 * (w, h)``,
    where the cell of a coordinate is ``floor(y * S / H)`` or ``floor(x * S / W)``, without rounding, clamped to the
    grid. A cell that several objects of an image want belongs to the last of them in an order.

    ===========  ==============================  =====  ==================================================
    convention   objects without a pixel         clamp  order
    ===========  ==============================  =====  ==================================================
    'official'   are assigned nowhere            True   'given': later objects over earlier ones
    'seed'       have the centre of their box    False  'area': small over large; of equal areas the later
    ===========  ==============================  =====  ==================================================

    Args:
        boxes: float [G, 4], x1 y1 x2 y2 in pixels; float64 or else taken as float32. All else is computed in float64.
        labels: int64 [G]; objects with a negative label are assigned nowhere.
        centers: float [G, 2], x y of the masks' centres of mass in pixels.
        areas: int64 [G], pixels of the masks; as :func:`mask_centers` and :func:`mask_target_pyramid` give both.
        offsets: int64 [B + 1]; image ``b`` owns objects ``offsets[b]`` to ``offsets[b + 1]``.
        size: (H, W) of the padded batch in pixels, at least 1.
        grids: S of each level, 1 to 32768, for at most 16 levels.
        scale_ranges: (low, high) of each level in pixels, both included; high may be infinite.
        sigma: side of the region as a fraction of the box's, at least 0.
        convention: 'official' (the authors' code) or 'seed' (a fork of it), which set clamp and order.
        clamp: whether the region ends one cell beyond the centre's cell on each side.
        order: which of an image's objects is last: 'given' or 'area', by ``areas``.
        masks: of the objects, which adds the cells inside of them ("MK"): those of the region for twice sigma, not
            clamped, whose nearest pixel ``(floor(i * H / S), floor(j * W / S))`` is in the mask. [G, H, W], best bool,
            else what is not 0 belongs to the mask; or uint8 [G, H, ceil(W / 8)] when ``packed_width`` is given.
        packed_width: W of packed masks, that of size.

    Returns:
        labels and instances as :class:`SoloTargets`, with M the sum of all S * S. A centre outside of the image
        belongs to the nearest cell. A box or centre with a coordinate that is not finite, and a box of negative width
        or height, is assigned nowhere; one without width or height has the size 0.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, a size, grid, scale range or sigma is out of its range, or
            (on the CPU) offsets do not rise from 0 to G.
        ValueError: an unknown convention or order, or a packed_width other than W.

    Differentiable: no. Deterministic: yes.

    Source: Wang et al., SOLO, arXiv:1912.04488, section 3.3. Native code: csrc/masks/solo_assign.h

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [30.0, 30.0, 60.0, 60.0]])
        >>> centers, areas = torch.tensor([[20.0, 20.0], [40.0, 40.0]]), torch.tensor([900, 500])
        >>> labels, offsets, scale_ranges = torch.tensor([7, 3]), torch.tensor([0, 2]), [(1, 35), (32, 99)]
        >>> targets = solo_assign(boxes, labels, centers, areas, offsets, (64, 64), [4, 2], scale_ranges)
        >>> targets.labels[0, :16].view(4, 4)  # the smaller box at the first level, the larger one at the second
        tensor([[-1, -1, -1, -1],
                [-1, -1, -1, -1],
                [-1, -1,  3, -1],
                [-1, -1, -1, -1]])
        >>> targets.instances[0, 16:].view(2, 2)
        tensor([[ 0, -1],
                [-1, -1]])
    """
    official = option_code("convention", convention, CONVENTIONS) == 0
    by_area = option_code("order", ORDERS[not official] if order is None else order, ORDERS) == 1
    height, width = size
    dtype = torch.float64 if torch.float64 in (boxes.dtype, centers.dtype) else torch.float32
    pixels, packed = None, False
    if masks is not None:
        pixels, masks_width, packed = mask_pixels(masks, packed_width)
        if packed and masks_width != width:
            raise ValueError(f"packed_width must be the width of size, {width}, got {masks_width}")
    return SoloTargets(
        *_library.ops.solo_assign(
            boxes.to(dtype),
            labels,
            centers.to(dtype),
            areas,
            offsets,
            height,
            width,
            list(grids),
            [float(end) for low, high in scale_ranges for end in (low, high)],
            float(sigma),
            official,
            official if clamp is None else clamp,
            by_area,
            pixels,
            packed,
        )
    )


def _fake(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor,
    areas: Tensor,
    offsets: Tensor,
    height: int,
    width: int,
    grids: list[int],
    scale_ranges: list[float],
    sigma: float,
    skip_empty: bool,
    clamp: bool,
    by_area: bool,
    masks: Tensor | None,
    packed: bool,
) -> tuple[Tensor, Tensor]:
    shape = (offsets.shape[0] - 1, sum(side * side for side in grids))
    return labels.new_empty(shape), labels.new_empty(shape)


register("solo_assign", fake=_fake, discrete=True)
