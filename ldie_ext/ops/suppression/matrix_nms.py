"""Matrix NMS: scores of masks decay by their overlaps, all at once."""

from __future__ import annotations

from torch import Tensor

from ldie_ext import _library
from ldie_ext._masks import mask_pixels
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["matrix_nms"]

KERNELS = ("linear", "gaussian")


def matrix_nms(
    masks: Tensor,
    labels: Tensor,
    scores: Tensor,
    *,
    kernel: str = "gaussian",
    sigma: float = 2.0,
    packed_width: int | None = None,
) -> Tensor:
    """Scores of masks, lowered where better masks of the same label overlap them (SOLOv2).

    ``score_j * min_i f(iou_ij) / f(max_k iou_ki)``, i over the masks of j's label with a better score, k over those
    better than i, with ``f(x) = exp(-sigma x^2)`` (gaussian) or ``1 - x`` (linear). Masks need not be sorted: the order
    is that of :func:`ldie_ext.nms`, equal scores in the order of the input and NaN first.

    Args:
        masks: N masks with less than 2^31 pixels each: [N, H, W], best bool, else what is not 0 belongs to the mask;
            or uint8 [N, H, ceil(W / 8)] when ``packed_width`` is given, 8 pixels a byte, bit 0 leftmost, bits beyond
            the width 0.
        labels: int64 [N]; masks of different labels do not touch each other.
        scores: float32, float64, float16 or bfloat16 [N].
        kernel: 'gaussian' or 'linear'.
        sigma: of the gaussian, at least 0.
        packed_width: W of packed masks.

    Returns:
        [N], the scores decayed, in the order and dtype of the input. A mask without pixels neither decays nor makes
        others decay. With the linear kernel an exact copy of a better mask gets 0 and leaves the decay of others to
        that one (the published code divides 0 by 0).

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or sigma is negative.
        ValueError: there is no such kernel.

    Differentiable: no. Deterministic: yes.

    Source: Wang et al., SOLOv2: Dynamic and Fast Instance Segmentation, NeurIPS 2020. Native code:
    csrc/suppression/matrix_nms.h

    Example:
        >>> masks = torch.tensor([[[True, True, False]], [[True, True, True]], [[False, False, True]]])
        >>> matrix_nms(masks, torch.tensor([0, 0, 0]), torch.tensor([0.9, 0.6, 0.5]), kernel="linear")
        tensor([0.9000, 0.2000, 0.5000])
    """
    gaussian = option_code("kernel", kernel, KERNELS) == 1
    return _library.ops.matrix_nms(*mask_pixels(masks, packed_width), labels, scores, gaussian, sigma)


def _fake(
    masks: Tensor, width: int, packed: bool, labels: Tensor, scores: Tensor, gaussian: bool, sigma: float
) -> Tensor:
    return scores.new_empty(scores.shape)


register("matrix_nms", fake=_fake)
