"""Which pixels a pyramid's hypotheses cover, and which hypotheses are among the best anywhere."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["PyramidCoverage", "pyramid_coverage"]

MODES = ("softmax", "max")


class PyramidCoverage(NamedTuple):
    """What a level's masks say about its pixels and about themselves."""

    coverage: Tensor
    """[B, h, w], the largest share that a living hypothesis has of a pixel: float64 of float64 logits, else float32."""
    present: Tensor
    """bool [B, A], whether a hypothesis is among the best at some pixel."""
    responses: Tensor | None
    """[B, A], of the dtype of coverage: the logits at the hypotheses' places; None without places."""


def pyramid_coverage(
    logits: Tensor,
    alive: Tensor,
    *,
    places: Tensor | None = None,
    step: float = 1.0,
    mode: Literal["softmax", "max"] = "softmax",
    top_k: int = 3,
    background: float | None = None,
    floor: float = 0.0,
    sizes: Tensor | None = None,
) -> PyramidCoverage:
    """How well each pixel is covered by the living hypotheses, and which of these are among the best somewhere.

    The share of hypothesis n at pixel p, among the living ones m with logits l:

    =========  ===================================================================
    mode       share
    =========  ===================================================================
    'softmax'  ``e^l_n / (sum_m e^l_m + e^background)``, or without the last term
    'max'      ``e^l_n / (e^l_n + e^background)``, that is ``sigmoid(l_n)`` without background
    =========  ===================================================================

    ``coverage(p) = max_n share_n(p)``. ``present(n)``: at some pixel the logit of n is one of the ``top_k`` largest,
    where of equal ones the lower slot comes first, and its share there is above ``floor``.

    ``response(n)``: the logit of n in the cell that its place lies in, ``floor(place / step)`` clamped to the map.

    Args:
        logits: float [B, A, h, w], the masks of A slots of each image.
        alive: bool [B, A], which slots are in use; the logits of the others have no effect.
        places: float [B, A, 2], x y of a place of each hypothesis, such as where it was born, in a unit of which a cell
            has ``step``.
        step: the side of a cell in the unit of places and sizes, above 0 and finite: 1 for cells, a level's stride for
            pixels of the image.
        mode: 'softmax' or 'max'.
        top_k: 1 to 8.
        background: the logit of what belongs to no hypothesis, finite. None: in mode 'softmax' there is no such thing,
            and the shares of a pixel sum to 1; in mode 'max' it is 0.
        floor: what a share must be above, 0 to 1.
        sizes: int64 [B, 2], (h, w) of the part of each image's map that counts, from its upper left corner, in the unit
            of step: cell (i, j) counts where ``i step < h`` and ``j step < w``, one that is cut too. None: all of it.

    Returns:
        coverage, present and responses as :class:`PyramidCoverage`. Coverage is 0 where no hypothesis is alive, and 1
        outside of sizes. A logit of NaN or -infinity is no claim: its share is 0, and it is never among the largest.
        +infinity is the largest finite number. Every other logit is a claim: with ``floor`` 0 it counts however small
        its share. A response is the logit as it is, and counts outside of sizes too; that of a slot not in use, of a
        place that is not finite, and on a map without cells is -infinity.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or step, top_k, background or floor is out of its
            range.
        ValueError: an unknown mode.

    Differentiable: no. Deterministic: yes; sums are taken over slots in one order.

    Source: step "which are present" of a mask pyramid's growth: survivors are those in the top 3 of some pixel, new
    ones are born where coverage is low. Softmax: masks compete for pixels. Native code: csrc/pyramid/pyramid_coverage.h

    Example:
        >>> logits = torch.tensor([[[[4.0, 0.0, 0.0]], [[2.0, 2.0, 0.0]], [[1.0, 1.0, 0.0]]]])  # three maps of 1 x 3
        >>> alive = torch.tensor([[True, True, True]])
        >>> found = pyramid_coverage(logits, alive, top_k=1)
        >>> found.coverage
        tensor([[[0.8438, 0.6652, 0.3333]]])
        >>> found.present  # the third is nowhere the best; of three equal ones the first is
        tensor([[ True,  True, False]])
        >>> pyramid_coverage(logits, alive, background=2.0).coverage
        tensor([[[0.7573, 0.3995, 0.0963]]])
        >>> places = torch.tensor([[[3.0, 4.0], [15.0, 4.0], [float("nan"), 4.0]]])
        >>> pyramid_coverage(logits, alive, places=places, step=8.0).responses
        tensor([[4., 2., -inf]])
    """
    code = option_code("mode", mode, MODES)
    coverage, present, responses = _library.ops.pyramid_coverage(
        logits, alive, places, float(step), code, top_k, background, float(floor), sizes
    )
    return PyramidCoverage(coverage, present, None if places is None else responses)


def _fake(
    logits: Tensor,
    alive: Tensor,
    places: Tensor | None,
    step: float,
    mode: int,
    top_k: int,
    background: float | None,
    floor: float,
    sizes: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, slots, height, width = logits.shape
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return (
        logits.new_empty((batch, height, width), dtype=dtype),
        alive.new_empty(alive.shape),
        logits.new_empty((batch, 0 if places is None else slots), dtype=dtype),
    )


register("pyramid_coverage", fake=_fake)
