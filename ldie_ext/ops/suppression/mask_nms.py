"""Non-maximum suppression of masks within each label."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._register import register

__all__ = ["mask_nms"]


def mask_nms(
    masks: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float, *, packed_width: int | None = None
) -> Tensor:
    """Keeps the masks that overlap no kept mask of their label and a higher score too much.

    As :func:`ldie_ext.batched_nms`, with the IoU of :func:`ldie_ext.mask_iou`, in float64: a mask is kept unless that
    with a mask of its label that was kept before it is greater than the threshold. The order is by descending score,
    equal scores in the order of the input, NaN first.

    Args:
        masks: N masks with less than 2^31 pixels each: [N, H, W], best bool, else what is not 0 belongs to the mask;
            or uint8 [N, H, ceil(W / 8)] when ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost, bits beyond
            the width 0.
        labels: int64 [N].
        scores: float32, float64, float16 or bfloat16 [N].
        iou_threshold: masks with a greater IoU are suppressed; a NaN suppresses nothing. The IoU of masks that share
            no pixel is 0, so that a mask without pixels stays unless the threshold is negative.
        packed_width: W of packed masks.

    Returns:
        int64 [K], the rows kept, by descending score. K depends on the data: on CUDA reading it waits for the device.

    Raises:
        RuntimeError: a shape, dtype or device does not fit.

    Differentiable: no. Deterministic: yes.

    Source: greedy suppression by the rules of torchvision.ops.nms. Native code: csrc/suppression/mask_nms.h

    Example:
        >>> masks = torch.tensor([[[True, True, False]], [[True, True, True]], [[False, False, True]]])
        >>> mask_nms(masks, torch.tensor([0, 0, 0]), torch.tensor([0.6, 0.9, 0.5]), 0.5)
        tensor([1, 2])
    """
    return _library.ops.mask_nms(*mask_pixels(masks, packed_width), labels, scores, iou_threshold)


def _fake(masks: Tensor, width: int, packed: bool, labels: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return masks.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


register("mask_nms", fake=_fake, discrete=True)
