"""The proposals of a region proposal network: from scores and deltas of all anchors to the best boxes of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.boxes.box_coder import DEFAULT_CLIP
from ldie_ext.ops.ragged.integers import integers

__all__ = ["select_proposals"]


def select_proposals(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    level_sizes: Sequence[int],
    image_sizes: Tensor | Sequence[tuple[int, int]],
    *,
    pre_nms: int,
    post_nms: int,
    iou_threshold: float,
    min_size: float = 1e-3,
    score_threshold: float = -math.inf,
    clip: float = DEFAULT_CLIP,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decodes the best anchors of each level, suppresses those that overlap, and takes the best of all levels.

    For every image, and for each of its levels by itself, (1) the ``pre_nms`` anchors of the highest score are taken,
    (2) decoded as by :func:`ldie_ext.decode_boxes` with weights 1 and clipped to the image, (3) left out where width
    or height is below ``min_size`` or not finite, (4) searched as by :func:`ldie_ext.nms`. The ``post_nms`` of the
    highest score of all levels together are the image's proposals. Of equal scores the lower anchor index comes first.

    Where scores are distinct the proposals are those of torchvision's RegionProposalNetwork, which compares scores
    after a sigmoid once it has chosen the ``pre_nms`` best. Shapes do not depend on data and nothing waits for the
    device, so that the op can be exported and captured in CUDA graphs.

    Args:
        scores: float32, float64, float16 or bfloat16 [B, A], usually logits. A NaN is never taken.
        deltas: [B, A, 4], of the dtype of the scores.
        anchors: [A, 4], x1 y1 x2 y2, level by level; float64 with float64 scores, otherwise float32.
        level_sizes: how many anchors each level has, 1 to 16 levels that sum to A.
        image_sizes: (H, W) of each image, as a list or int64 [B, 2].
        pre_nms: how many anchors of a level to decode at most, at least 1.
        post_nms: how many proposals of an image to return at most, at least 1.
        iou_threshold: a box is suppressed by a better one of its level with a greater IoU.
        min_size: pixels, the least width and height of a proposal.
        score_threshold: anchors with a lower score are left out; in the unit of the scores (torchvision's is a
            probability).
        clip: the most that a delta of width or height may be.

    Returns:
        boxes [B, post_nms, 4], in the dtype of the anchors; scores [B, post_nms], in that of the scores, descending;
        counts, int64 [B], the number of proposals of each image. Unused slots hold boxes of 0 and scores of -infinity.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, the levels do not sum to A, or a number is below 1.

    Differentiable: no; proposals are constants to whatever uses them, as in every published implementation.
    Deterministic: yes.

    Source: Faster R-CNN, arXiv:1506.01497, section 3.3, and Feature Pyramid Networks, arXiv:1612.03144, section 4.1.
    Native code: csrc/boxes/select_proposals.h

    Example:
        >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [1.0, 0.0, 9.0, 8.0], [4.0, 4.0, 20.0, 20.0]])
        >>> boxes, scores, counts = select_proposals(
        ...     torch.tensor([[1.0, 2.0, 0.0]]), torch.zeros(1, 3, 4), anchors, [2, 1], [(16, 16)],
        ...     pre_nms=10, post_nms=3, iou_threshold=0.5,
        ... )
        >>> boxes[0, :2], scores, counts
        (tensor([[ 1.,  0.,  9.,  8.],
                [ 4.,  4., 16., 16.]]), tensor([[2., 0., -inf]]), tensor([2]))
    """
    return _library.ops.select_proposals(
        scores.detach(),
        deltas.detach(),
        anchors.detach(),
        _size_tensor(image_sizes, scores),
        list(level_sizes),
        pre_nms,
        post_nms,
        iou_threshold,
        min_size,
        score_threshold,
        clip,
    )


def _size_tensor(image_sizes: Tensor | Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    if isinstance(image_sizes, Tensor):
        return image_sizes
    return integers([side for size in image_sizes for side in size], like).reshape(-1, 2)


def _fake(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    image_sizes: Tensor,
    level_sizes: list[int],
    pre_nms: int,
    post_nms: int,
    iou_threshold: float,
    min_size: float,
    score_threshold: float,
    clip: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch = scores.shape[0]
    return (
        anchors.new_empty((batch, post_nms, 4)),
        scores.new_empty((batch, post_nms)),
        scores.new_empty(batch, dtype=torch.int64),
    )


register("select_proposals", fake=_fake, discrete=True)
