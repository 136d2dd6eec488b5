"""Which cell of its box's heatmap a keypoint falls into."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["keypoint_targets"]


def keypoint_targets(keypoints: Tensor, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Target cells of a keypoint head: where each keypoint lies in the heatmap that covers its box.

    ``column = floor((x - x1) * W / (x2 - x1))`` and the row alike; a keypoint exactly on the far edge (``x == x2``)
    falls into the last column. ``index = row * W + column``, the class of a softmax over the H * W cells
    (:func:`ldie_ext.spatial_softmax_cross_entropy`).

    Args:
        keypoints: float [N, K, 3], x, y and visibility in the image.
        boxes: [N, 4], x1 y1 x2 y2, in the dtype of the keypoints: the region that each heatmap covers.
        size: (H, W) of the heatmaps.

    Returns:
        index: int64 [N, K], 0 where not valid.
        valid: bool [N, K], whether the visibility is above 0 and the keypoint inside the box. NaN is never valid. A
        box without width holds only keypoints on its edge, in the last column.

    Raises:
        RuntimeError: a shape, dtype or device does not fit.

    Differentiable: no. Deterministic: yes.

    Source: He et al., Mask R-CNN, arXiv:1703.06870, section 5; torchvision's keypoints_to_heatmap, computed in float32
    for 16-bit types. Native code: csrc/heatmap/keypoint_targets.h

    Example:
        >>> keypoints = torch.tensor([[[3.0, 1.0, 2.0], [8.0, 4.0, 1.0], [9.0, 1.0, 1.0], [1.0, 1.0, 0.0]]])
        >>> keypoint_targets(keypoints, torch.tensor([[0.0, 0.0, 8.0, 4.0]]), (4, 4))
        (tensor([[ 5, 15,  0,  0]]), tensor([[ True,  True, False, False]]))
    """
    height, width = size
    return _library.ops.keypoint_targets(keypoints, boxes, height, width)


def _fake(keypoints: Tensor, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    shape = keypoints.shape[:2]
    return keypoints.new_empty(shape, dtype=torch.int64), keypoints.new_empty(shape, dtype=torch.bool)


register("keypoint_targets", fake=_fake, discrete=True, autocast=torch.float32)
