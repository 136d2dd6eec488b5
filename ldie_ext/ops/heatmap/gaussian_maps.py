"""A Gaussian map for each centre: where an instance begins, and the region that all its levels share."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["gaussian_maps"]

Kind = Literal["half", "fwhm", "sigma", "onehot"]
KINDS: tuple[str, ...] = get_args(Kind)  # in the order of the native codes


def gaussian_maps(
    centers: Tensor,
    radius: float | Tensor,
    size: tuple[int, int],
    *,
    step: float = 1.0,
    kind: Kind = "half",
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Maps with a Gaussian around one centre each, 1 where the centre is.

    Cell (i, j) of the map of a centre (x, y) has :math:`\exp(-c\, d^2 / r^2)` with
    :math:`d^2 = (j + \frac12 - x)^2 + (i + \frac12 - y)^2`: positions are continuous, and the middle of a cell is at
    halves. c says what the radius r is. With a ``step`` the centre and the radius are those divided by it.

    Args:
        centers: float [..., 2], x y in a unit of which a cell of the map has ``step``: with 1 in cells, with a level's
            stride in pixels of the image. They may lie outside of the map.
        radius: in the same unit; one number, or a floating tensor [...] with one for each centre.
        size: (H, W) of the maps.
        step: the side of a cell, above 0 and finite.
        kind: 'half' (c = ln 2): the radius is where half the height is left; 'fwhm' (c = 4 ln 2): the radius is the
            full width at half maximum; 'sigma' (c = 1 / 2): the standard deviation, of a normal density that is not
            normalised; 'onehot': no Gaussian, but 1 in the cell that the centre lies in and 0 elsewhere, whatever the
            radius, and nothing for a centre outside of the map.
        dtype: of the maps: float32, float64, float16 or bfloat16; that of centers if not given. Distances are computed
            in float64, the Gaussians in float32 (float64 for float64), and rounded once.

    Returns:
        [..., H, W] in [0, 1]. Radius 0 leaves 1 in a cell whose middle the centre is, an infinite one 1 everywhere. A
        centre that is not finite (a slot that is not in use) and a radius below 0 or NaN give a map of zeros. Values
        that are no normal numbers of the precision, below some 1.7e-38 or 2.3e-308, are 0.

    Raises:
        RuntimeError: a shape, dtype, device, size or step does not fit.
        ValueError: an unknown kind.

    A map is the product of a factor for each row and one for each column: H + W exponentials.

    Differentiable: no. Deterministic: yes.

    Source: the density of an isotropic normal distribution by its peak; half the FWHM, sqrt(2 ln 2) sigma, is the
    radius of 'half'. Native code: csrc/heatmap/gaussian_maps.h

    Example:
        >>> gaussian_maps(torch.tensor([1.5, 1.5]), 1.0, (3, 4))
        tensor([[0.2500, 0.5000, 0.2500, 0.0312],
                [0.5000, 1.0000, 0.5000, 0.0625],
                [0.2500, 0.5000, 0.2500, 0.0312]])
        >>> gaussian_maps(torch.tensor([12.0, 4.0]), 8.0, (1, 3), step=8.0)  # of stride 8
        tensor([[0.5000, 1.0000, 0.5000]])
    """
    height, width = size
    radii = radius if isinstance(radius, Tensor) else None
    return _library.ops.gaussian_maps(
        centers,
        radii,
        0.0 if isinstance(radius, Tensor) else radius,
        float(step),
        height,
        width,
        option_code("kind", kind, KINDS),
        centers.dtype if dtype is None else dtype,
    )


def _fake(
    centers: Tensor,
    radii: Tensor | None,
    radius: float,
    step: float,
    height: int,
    width: int,
    kind: int,
    dtype: torch.dtype,
) -> Tensor:
    return centers.new_empty((*centers.shape[:-1], height, width), dtype=dtype)


register("gaussian_maps", fake=_fake)
