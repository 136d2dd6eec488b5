"""RoIAlign on a feature pyramid, each RoI on the level that fits its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor
from torch.jit import is_scripting  # type: ignore[attr-defined]

from ldie_ext import _library
from ldie_ext._layout import channels_last
from ldie_ext._options import option_code
from ldie_ext.ops.roi.roi_align import coordinates, size_pair

__all__ = ["multiscale_roi_align"]

LevelRule = Literal["torchvision", "detectron2", "mmdet"]
LEVEL_RULES: tuple[str, ...] = get_args(LevelRule)  # in the order of the native codes


def multiscale_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    offsets: Tensor,
    output_size: int | list[int] | tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    canonical_scale: float = 224,
    canonical_level: int = 4,
    levels: LevelRule = "torchvision",
) -> Tensor:
    """:func:`ldie_ext.roi_align` on a feature pyramid: each RoI reads the level that fits its size, in one launch.

    With ``side = sqrt(area)`` of a box and ``L`` levels of which the first is ``l0 = -log2(spatial_scales[0])``::

        torchvision   floor(canonical_level + log2(side / canonical_scale) + 1e-6)
        detectron2    floor(canonical_level + log2(side / canonical_scale + 1e-8))
        mmdet         floor(log2(side / finest_scale + 1e-6)) + l0,
                      finest_scale = canonical_scale 2^(l0 - canonical_level)

    clamped to ``l0 .. l0 + L - 1``. The three differ just below the sides at which the level changes.

    Args:
        features: 1 to 8 maps, float [B, C, H_l, W_l], finest first, each half as fine as the one before; read as they
            are when all are channels last.
        boxes: float [K, 4], x1 y1 x2 y2; any floating dtype (coordinates are computed in float32, or in float64 for
            float64 features).
        offsets: int64 [B + 1]; image ``b`` owns boxes ``offsets[b]`` to ``offsets[b + 1]``.
        output_size: (h, w) of the bins, or one number for both.
        spatial_scales: cells per unit of the boxes, one for each map.
        sampling_ratio: samples of a bin along each axis; 0 or below adapts to the RoI, as in roi_align.
        aligned: cell centres stand at 0.5, as in roi_align.
        canonical_scale: the side of boxes that belong to the canonical level.
        canonical_level: that level, as a power of two of its stride.
        levels: whose rule for the level: 'torchvision', 'detectron2' or 'mmdet'.

    Returns:
        [K, C, h, w] in the features' dtype, channels last in memory when the features are. Boxes with an area of 0 or
        below read the finest level; all 0 for RoIs as in roi_align.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, spatial_scales are not positive or not one for each map,
            or (on the CPU) offsets do not rise from 0 to K.
        ValueError: an unknown rule for the levels.

    Differentiable: yes, in features, any number of times; boxes get no gradient. Deterministic: yes, also backward.

    Source: levels of Lin et al., FPN, 2017, eq. 1; He et al., Mask R-CNN, 2017. Native code: csrc/roi/roi_align.h

    Example:
        >>> features = [torch.full((1, 1, 32 // 2**i, 32 // 2**i), float(i)) for i in range(3)]
        >>> boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 64.0, 64.0], [0.0, 0.0, 128.0, 128.0]])
        >>> scales = [1 / 4, 1 / 8, 1 / 16]
        >>> multiscale_roi_align(features, boxes, torch.tensor([0, 3]), 1, scales, canonical_scale=128).flatten()
        tensor([0., 1., 2.])
    """
    rule = option_code("levels", levels, LEVEL_RULES)
    return pool_pyramid(
        list(features), boxes, offsets, size_pair(output_size), list(spatial_scales), sampling_ratio, aligned,
        canonical_scale, canonical_level, rule,
    )  # fmt: skip


def pool_pyramid(
    features: list[Tensor],
    boxes: Tensor,
    offsets: Tensor,
    output_size: tuple[int, int],
    spatial_scales: list[float],
    sampling_ratio: int,
    aligned: bool,
    canonical_scale: float,
    canonical_level: int,
    rule: int,
) -> Tensor:
    """The same with the rule's native code; TorchScript reads this."""
    first_level = 0
    if len(spatial_scales) > 0 and spatial_scales[0] > 0:
        first_level = int(-log2(spatial_scales[0]))
    height, width = output_size
    return _library.ops.roi_align(
        features, coordinates(boxes, features[0]), offsets, height, width, channels_last(features), spatial_scales,
        sampling_ratio, aligned, canonical_scale, canonical_level, first_level, rule,
    )  # fmt: skip


def log2(value: float) -> float:
    """The logarithm to base 2, which TorchScript's math lacks."""
    if is_scripting():
        return math.log(value) / math.log(2.0)
    else:
        return math.log2(value)
