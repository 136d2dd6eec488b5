"""Which hypotheses of a mask pyramid live on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["PyramidCull", "pyramid_cull"]


class PyramidCull(NamedTuple):
    """The slots of each of B images that are kept."""

    slots: Tensor
    """int64 [B, capacity], rising; -1 in unused places."""
    counts: Tensor
    """int64 [B], how many slots each image keeps."""


def pyramid_cull(present: Tensor, scores: Tensor, capacity: int) -> PyramidCull:
    """The slots that are present, the best of them where there are more than places, packed in their order.

    Of an image's slots ``{n: present[n]}`` the ``capacity`` of the highest scores are kept; of equal scores the lower
    slot, and a NaN after every number. They are listed by rising slot, so that a gather with them packs hypotheses
    without changing their order.

    Shapes do not depend on data and nothing waits for the device.

    Args:
        present: bool [B, A], which hypotheses are among the best somewhere, as :func:`ldie_ext.pyramid_coverage` says;
            fewer than 2^31 slots.
        scores: float32, float64, float16 or bfloat16 [B, A]; read only where ``present``.
        capacity: how many slots of each image to keep at most, at least 1.

    Returns:
        slots and counts as :class:`PyramidCull`. An image without present slots has -1 everywhere and count 0.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or capacity is below 1.

    Differentiable: no. Deterministic: yes.

    Source: the growth step of a mask pyramid, in which hypotheses that are nowhere among the best die.
    Native code: csrc/pyramid/pyramid_cull.h

    Example:
        >>> present = torch.tensor([[True, True, False, True], [False, False, True, False]])
        >>> scores = torch.tensor([[0.5, 0.9, 0.99, 0.7], [0.1, 0.2, 0.3, 0.4]])
        >>> pyramid_cull(present, scores, 2)
        PyramidCull(slots=tensor([[ 1,  3],
                [ 2, -1]]), counts=tensor([2, 1]))
    """
    return PyramidCull(*_library.ops.pyramid_cull(present, scores, capacity))


def _fake(present: Tensor, scores: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    batch = present.shape[0]
    return present.new_empty((batch, capacity), dtype=torch.int64), present.new_empty(batch, dtype=torch.int64)


register("pyramid_cull", fake=_fake, discrete=True)
