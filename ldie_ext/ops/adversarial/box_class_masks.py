"""Which cells of a feature map the boxes of each class cover."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["box_class_masks"]

Rounding = Literal["trunc", "outward"]
ROUNDINGS: tuple[str, ...] = get_args(Rounding)  # in the order of the native codes


def box_class_masks(
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    size: tuple[int, int],
    *,
    class_agnostic: bool = False,
    rounding: Rounding = "trunc",
    packed: bool = False,
) -> Tensor:
    """Binary masks of the cells that the boxes of each class cover, for a batch of images.

    ``masks[b, k, y, x]`` is 1 where a box of image ``b`` with label ``k`` covers cell (y, x): ``x1 <= x < x2`` and
    ``y1 <= y < y2`` after rounding and clipping to the map. Boxes of one class unite, they do not add.

    Args:
        boxes: float [N, 4], x1 y1 x2 y2 in cells of the map (image pixels divided by the stride).
        labels: int64 [N], classes counted from 0; boxes with a label outside [0, num_classes) are left out
            (class-agnostic masks take every box).
        offsets: int64 [B + 1]; image ``b`` owns boxes ``offsets[b]`` to ``offsets[b + 1]``.
        num_classes: number of classes, at least 1.
        size: (H, W) of the map.
        class_agnostic: one mask for all classes, so that the second dimension is 1.
        rounding: 'trunc' rounds edges toward zero, so that boxes thinner than a cell can vanish; 'outward' takes
            every touched cell.
        packed: 8 cells a byte, bit 0 leftmost.

    Returns:
        bool [B, num_classes or 1, H, W], or uint8 [B, num_classes or 1, H, ceil(W / 8)] when packed. All zero for an
        image without boxes; inverted boxes, boxes outside the map and boxes with a NaN cover nothing.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or (on the CPU) offsets do not rise from 0 to N.
        ValueError: an unknown rounding.

    Differentiable: no. Deterministic: yes.

    Source: ground-truth masking of a scale discriminator in CenterNet-based multi-scale detection (RDSP, IEEE Access
    2023), here for a whole batch on the device. Native code: csrc/adversarial/box_class_masks.h

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 1.5]])
        >>> box_class_masks(boxes, torch.tensor([1]), torch.tensor([0, 1]), 2, (2, 3))[0, 1].int()
        tensor([[1, 1, 0],
                [0, 0, 0]], dtype=torch.int32)
    """
    height, width = size
    return _library.ops.box_class_masks(
        boxes,
        labels,
        offsets,
        num_classes,
        height,
        width,
        class_agnostic,
        option_code("rounding", rounding, ROUNDINGS),
        packed,
    )


def _fake(
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    height: int,
    width: int,
    class_agnostic: bool,
    rounding: int,
    packed: bool,
) -> Tensor:
    shape = (offsets.shape[0] - 1, 1 if class_agnostic else num_classes, height, (width + 7) // 8 if packed else width)
    return boxes.new_empty(shape, dtype=torch.uint8 if packed else torch.bool)


register("box_class_masks", fake=_fake, discrete=True)
