"""Keypoints in the image from the heatmaps of boxes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["decode_keypoints"]

Score = Literal["logit", "softmax"]
SCORES: tuple[str, ...] = get_args(Score)  # in the order of the native codes


def decode_keypoints(heatmaps: Tensor, boxes: Tensor, *, score: Score = "logit") -> tuple[Tensor, Tensor]:
    """Places where the heatmaps of boxes are greatest, as torchvision's ``heatmaps_to_keypoints``.

    Each map is resized to ``ceil(w) x ceil(h)`` pixels for a box of width ``w`` and height ``h`` (at least 1) by
    bicubic interpolation (``align_corners=False``), and the column ``c`` of its first greatest pixel gives ``x = (c +
    0.5) * w / ceil(w) + x1``; y alike. The resized maps are never made: cells of the map whose bicubic bound is below
    what was found already are passed over, and no loop over boxes waits for the device.

    Args:
        heatmaps: float [N, K, H, W], logits of K keypoints for each box, with at least one cell.
        boxes: [N, 4], x1 y1 x2 y2, in the dtype of the heatmaps. A side above 16384 is resized to 16384 pixels.
        score: 'logit' gives the interpolated value there, as torchvision; 'softmax' ``exp(value) / sum(exp(map))`` over
            the H * W logits, as detectron2.

    Returns:
        keypoints: [N, K, 3], x, y and 1, in the dtype of the heatmaps (computed in float32 for 16-bit types).
        scores: [N, K]. NaN pixels are passed over; a map without any other gives the box's first pixel and NaN. A box
        with a NaN gives NaN coordinates.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or the heatmaps have no cells.
        ValueError: an unknown score.

    Differentiable: no. Deterministic: yes.

    Source: He et al., Mask R-CNN, arXiv:1703.06870; torchvision's heatmaps_to_keypoints. Native code:
    csrc/heatmap/decode_keypoints.h

    Example:
        >>> heatmaps = torch.zeros(1, 1, 4, 4)
        >>> heatmaps[0, 0, 1, 2] = 5.0
        >>> decode_keypoints(heatmaps, torch.tensor([[10.0, 20.0, 14.0, 24.0]]))
        (tensor([[[12.5000, 21.5000,  1.0000]]]), tensor([[5.]]))
    """
    return _library.ops.decode_keypoints(heatmaps, boxes, bool(option_code("score", score, SCORES)))


def _fake(heatmaps: Tensor, boxes: Tensor, softmax: bool) -> tuple[Tensor, Tensor]:
    boxes_, keypoints = heatmaps.shape[:2]
    return heatmaps.new_empty((boxes_, keypoints, 3)), heatmaps.new_empty((boxes_, keypoints))


register("decode_keypoints", fake=_fake, autocast=torch.float32)
