"""Assignment of candidate boxes to ground truth."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["match_boxes"]

Convention = Literal["torchvision", "detectron2"]
CONVENTIONS = ("torchvision", "detectron2")


def match_boxes(
    gt: Tensor,
    gt_offsets: Tensor,
    candidates: Tensor,
    high: float,
    low: float,
    *,
    allow_low_quality: bool = False,
    convention: Convention = "torchvision",
    crowd: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Assigns each candidate box to the ground truth that it overlaps most, for a whole batch.

    ``iou[b, a] = max_g IoU(gt[g], candidates[a])`` over the ground truth of image ``b``, and ``matches[b, a]`` is the
    first ``g`` with that IoU, counted within the image::

        g    where iou >= high
        -2   where low <= iou < high
        -1   where iou < low

    With ``allow_low_quality`` each ground truth is also given to the candidates that overlap it most, all of them at
    a tie: they keep their own ``g``, which may be another ground truth, whatever their IoU. A ground truth that
    overlaps no candidate so gives *every* candidate of the image its ``g``, as in torchvision and detectron2. The
    matrix of all IoUs is never formed: memory is that of the inputs and outputs, which makes dense anchors with
    hundreds of objects affordable.

    The two conventions differ only where an IoU is NaN (0 / 0 of boxes without area, NaN or infinite coordinates):
    'torchvision' takes it for greater than all others, bit for bit as its ``Matcher``, so that a NaN candidate
    matches row 0; 'detectron2' counts it as no overlap, so that broken boxes match nothing.

    Args:
        gt: float [G, 4], x1 y1 x2 y2, the ground truth of all images.
        gt_offsets: int64 [B + 1]; image ``b`` owns rows ``gt_offsets[b]`` to ``gt_offsets[b + 1]``, possibly none.
        candidates: float [A, 4], anchors that all images share, or [B, A, 4].
        high: IoU from which a candidate is matched.
        low: IoU below which it is background; at most high. Both are compared in the type of the IoU.
        allow_low_quality: also match the best candidates of each ground truth.
        convention: 'torchvision' or 'detectron2'.
        crowd: bool [G], ground truth that takes no part, as if its rows were absent (the others keep their numbers).
            What lies on a crowd region only is so background, as when torchvision's and detectron2's data loaders drop
            crowds.

    Returns:
        ``matches`` int64 [B, A], and ``iou`` [B, A] in float32, or float64 when an input is float64. Of images
        without ground truth all are -1 with an IoU of 0. 16-bit boxes are compared in float32.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or (on the CPU) gt_offsets do not rise from 0 to G.
        ValueError: low is greater than high, or an unknown convention.

    Differentiable: no. Deterministic: yes.

    Source: Ren et al., Faster R-CNN, arXiv:1506.01497, section 3.1.2; torchvision.models.detection's Matcher. Native
    code: csrc/boxes/match_boxes.h

    Example:
        >>> gt, offsets = torch.tensor([[0.0, 0.0, 4.0, 4.0], [8.0, 0.0, 12.0, 4.0]]), torch.tensor([0, 2])
        >>> candidates = torch.tensor([[0.0, 0.0, 4.0, 5.0], [8.0, 0.0, 12.0, 8.0], [20.0, 0.0, 24.0, 4.0]])
        >>> match_boxes(gt, offsets, candidates, 0.7, 0.3)
        (tensor([[ 0, -2, -1]]), tensor([[0.8000, 0.5000, 0.0000]]))
        >>> match_boxes(gt, offsets, candidates, 0.7, 0.3, allow_low_quality=True)[0]
        tensor([[ 0,  1, -1]])
    """
    if not low <= high:
        raise ValueError(f"low must be at most high, got low {low} and high {high}")
    dtype = torch.promote_types(torch.promote_types(gt.dtype, candidates.dtype), torch.float32)
    return _library.ops.match_boxes(
        gt.to(dtype), gt_offsets, candidates.to(dtype), float(high), float(low), allow_low_quality,
        option_code("convention", convention, CONVENTIONS), crowd,
    )  # fmt: skip


def _fake(gt: Tensor, gt_offsets: Tensor, candidates: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    size = (gt_offsets.shape[0] - 1, candidates.shape[-2])
    return gt.new_empty(size, dtype=torch.int64), gt.new_empty(size)


register("match_boxes", fake=_fake, discrete=True)
