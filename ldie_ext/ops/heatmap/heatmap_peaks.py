"""The best local maxima of score maps: a centre-point detector's decoding without NMS."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["heatmap_peaks"]


def heatmap_peaks(scores: Tensor, k: int, *, per_class: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The k best 3x3 local maxima of each image, in one pass over the scores.

    A peak is above -infinity and at least as high as its (up to) eight neighbours on the map of its class, as
    ``scores == max_pool2d(scores, 3, stride=1, padding=1)`` finds them; equal neighbours are all peaks. A NaN is no
    peak and makes none of its neighbours one.

    Args:
        scores: float [B, C, H, W]; probabilities or logits, the peaks are the same.
        k: how many peaks to return, at least 1.
        per_class: the k best of each class instead of each image.

    Returns:
        (scores, labels, y, x), each [B, k], or [B, C, k] with per_class: scores in the maps' dtype and int64 class,
        row and column. By falling score; equal scores by class, then row, then column. Unused slots, where there are
        fewer than k peaks, hold score -infinity and label, y and x -1.

    Raises:
        RuntimeError: scores is not a floating [B, C, H, W], or k is below 1.

    Differentiable: no. Deterministic: yes.

    Source: CenterNet, arXiv:1904.07850, section 4. Native code: csrc/heatmap/heatmap_peaks.h

    Example:
        >>> maps = torch.tensor([[0.1, 0.9, 0.2, 0.3], [0.2, 0.4, 0.1, 0.7]]).view(1, 1, 2, 4)
        >>> heatmap_peaks(maps, 3)
        (tensor([[0.9000, 0.7000,   -inf]]), tensor([[ 0,  0, -1]]), tensor([[ 0,  1, -1]]), tensor([[ 1,  3, -1]]))
    """
    return _library.ops.heatmap_peaks(scores, k, per_class)


def _fake(scores: Tensor, k: int, per_class: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (*scores.shape[: 2 if per_class else 1], k)
    labels, y, x = (scores.new_empty(shape, dtype=torch.int64) for _ in range(3))
    return scores.new_empty(shape), labels, y, x


register("heatmap_peaks", fake=_fake)
