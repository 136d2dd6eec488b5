"""Regression targets at the centres of boxes: index of the cell, size, offset within the cell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["CenterTargets", "center_targets"]


class CenterTargets(NamedTuple):
    """Targets of up to M boxes per image; slot m belongs to the image's box m."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """int64 [B, M], ``y * W + x`` of the cell that holds the centre; -1 where not valid."""
    wh: Tensor
    """[B, M, 2], width and height in cells; 0 where not valid."""
    offset: Tensor
    """[B, M, 2], centre minus its cell, in [0, 1); 0 where not valid."""
    valid: Tensor
    """bool [B, M]."""


def center_targets(
    boxes: Tensor, labels: Tensor, offsets: Tensor, size: tuple[int, int], max_objects: int
) -> CenterTargets:
    """Size and offset targets of a centre-point detector, for a batch of images.

    Slot ``m`` of image ``b`` belongs to box ``offsets[b] + m``: its centre lies in cell ``index`` of the map,
    ``offset`` from that cell's corner, and the box measures ``wh``. Boxes from ``max_objects`` on are left out. What
    :func:`gather_l1_loss` takes.

    Args:
        boxes: float [N, 4], x1 y1 x2 y2 in cells of the map (image pixels divided by the stride).
        labels: int64 [N]; a box with a negative label keeps its slot, not valid.
        offsets: int64 [B + 1]; image ``b`` owns boxes ``offsets[b]`` to ``offsets[b + 1]``.
        size: (H, W) of the map.
        max_objects: M, the number of slots of each image, at least 1.

    Returns:
        index, wh, offset and valid as :class:`CenterTargets`; wh and offset have the boxes' dtype (16-bit boxes are
        computed in float32 and rounded once). A slot is not valid past the image's boxes, for a box without a
        positive finite width and height, with a NaN, or with its centre outside the map.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, max_objects is below 1, or (on the CPU) offsets do not
            rise from 0 to N.

    Differentiable: no. Deterministic: yes.

    Source: CenterNet, arXiv:1904.07850, section 3. Native code: csrc/heatmap/center_targets.h

    Example:
        >>> boxes = torch.tensor([[1.0, 0.5, 4.0, 3.0]])
        >>> targets = center_targets(boxes, torch.tensor([1]), torch.tensor([0, 1]), (4, 8), 2)
        >>> targets.index, targets.wh[0, 0], targets.offset[0, 0]
        (tensor([[10, -1]]), tensor([3.0000, 2.5000]), tensor([0.5000, 0.7500]))
    """
    height, width = size
    return CenterTargets(*_library.ops.center_targets(boxes, labels, offsets, height, width, max_objects))


def _fake(
    boxes: Tensor, labels: Tensor, offsets: Tensor, height: int, width: int, max_objects: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    slots = (offsets.shape[0] - 1, max_objects)
    return (
        boxes.new_empty(slots, dtype=torch.int64),
        boxes.new_empty((*slots, 2)),
        boxes.new_empty((*slots, 2)),
        boxes.new_empty(slots, dtype=torch.bool),
    )


register("center_targets", fake=_fake)
