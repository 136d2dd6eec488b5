"""Gaussian heatmaps of box centres, one map per image and class."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["center_heatmap"]

RadiusRule = Literal["cornernet", "exact"]
RADIUS_RULES: tuple[str, ...] = get_args(RadiusRule)  # in the order of the native codes


def center_heatmap(
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    size: tuple[int, int],
    *,
    min_overlap: float = 0.7,
    radius: RadiusRule = "cornernet",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Heatmap targets of a centre-point detector, for a batch of images.

    Each box of image ``b`` with label ``k`` leaves :math:`\exp(-d^2 / 2\sigma^2)` on ``heatmap[b, k]``, where ``d`` is
    the distance to the cell that holds its centre, within a square window of ``radius`` cells on each side, and
    :math:`\sigma = (2 \cdot radius + 1) / 6`. Where Gaussians of one class meet, the larger value stands. The radius
    is the integer part of the largest shift of the box's corners that keeps an IoU of ``min_overlap``, computed in
    float64 from the box's sides rounded up.

    Args:
        boxes: float [N, 4], x1 y1 x2 y2 in cells of the map (image pixels divided by the stride).
        labels: int64 [N], classes counted from 0; boxes with a label outside [0, num_classes) are left out.
        offsets: int64 [B + 1]; image ``b`` owns boxes ``offsets[b]`` to ``offsets[b + 1]``.
        num_classes: number of classes, at least 1.
        size: (H, W) of the map.
        min_overlap: IoU that a shifted box keeps, in (0, 1]; smaller means wider Gaussians.
        radius: 'cornernet' is the published code, whose three roots are larger than the equations' (about 3.3 times
            for squares); 'exact' takes the roots themselves.
        dtype: of the heatmap: float32, float64, float16 or bfloat16. The Gaussians are computed in float32 (float64
            for float64) and rounded once.

    Returns:
        [B, num_classes, H, W] in [0, 1], 1 at the centres' cells. All zero for an image without boxes; boxes without
        a positive finite width and height, with a NaN, or with their centre outside the map leave nothing.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, min_overlap is out of range, or (on the CPU) offsets do
            not rise from 0 to N.
        ValueError: an unknown radius rule.

    On the CPU only the pages that hold a Gaussian are written: the rest of the map takes memory when it is first
    written to, so that a mostly empty map costs less than ``torch.zeros``.

    Differentiable: no. Deterministic: yes.

    Source: CenterNet, arXiv:1904.07850, and CornerNet, arXiv:1808.01244, section 3.2. The published code zeroes values
    below eps times the maximum; none is that small (the window's corner is above exp(-9)), so here is no such rule.
    Native code: csrc/heatmap/gaussian.h

    Example:
        >>> boxes, labels = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1])
        >>> center_heatmap(boxes, labels, torch.tensor([0, 1]), 2, (4, 4))[0, 1]
        tensor([[0.0000, 0.0000, 0.0000, 0.0000],
                [0.0000, 0.0183, 0.1353, 0.0183],
                [0.0000, 0.1353, 1.0000, 0.1353],
                [0.0000, 0.0183, 0.1353, 0.0183]])
    """
    height, width = size
    return _library.ops.center_heatmap(
        boxes,
        labels,
        offsets,
        num_classes,
        height,
        width,
        min_overlap,
        option_code("radius", radius, RADIUS_RULES),
        dtype,
    )


def _fake(
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    height: int,
    width: int,
    min_overlap: float,
    radius: int,
    dtype: torch.dtype,
) -> Tensor:
    return boxes.new_empty((offsets.shape[0] - 1, num_classes, height, width), dtype=dtype)


register("center_heatmap", fake=_fake)
