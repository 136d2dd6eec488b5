"""References of the suppression family: greedy NMS by the rules of torchvision's CPU operator, on every device."""

import torch
from torch import Tensor


def widen(values: Tensor) -> Tensor:
    """float16 and bfloat16 are compared in float32; float32 and float64 in their own type."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def iou_with(box: Tensor, others: Tensor) -> Tensor:
    """IoU of one box [4] with others [N,4] in their dtype; NaN for 0/0.

    The maxima are std::max(a, b) = a < b ? b : a, which decides what a NaN coordinate does.
    """

    def maximum(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(a < b, b, a)

    def minimum(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(b < a, b, a)

    zero = torch.zeros((), dtype=box.dtype, device=box.device)
    width = maximum(zero, minimum(box[2], others[:, 2]) - maximum(box[0], others[:, 0]))
    height = maximum(zero, minimum(box[3], others[:, 3]) - maximum(box[1], others[:, 1]))
    inter = width * height
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return inter / (area + areas - inter)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices kept, by descending score: int64 [K].

    Order: torch.sort(stable=True, descending=True): ties by the lower index, NaN scores first. A box is suppressed by
    a kept one when IoU > iou_threshold, strictly, IoU in the boxes' type against the threshold in double; an IoU of
    NaN (two boxes without area) suppresses nothing.
    """
    return batched_nms(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` within each group of equal idxs, exactly; all kept indices by descending score as in `nms`."""
    order = scores.sort(stable=True, descending=True).indices
    ordered, groups = widen(boxes)[order], idxs[order]
    alive = torch.ones_like(order, dtype=torch.bool)
    for row in range(order.numel()):
        if alive[row]:
            overlap = iou_with(ordered[row], ordered[row + 1 :]).double() > iou_threshold
            alive[row + 1 :] &= ~(overlap & (groups[row + 1 :] == groups[row]))
    return order[alive]


def nms_padded(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    """The first max_output of `batched_nms`, padded with -1, and their number as an int64 scalar tensor."""
    kept = batched_nms(boxes, scores, idxs, iou_threshold)[:max_output]
    padded = torch.nn.functional.pad(kept, (0, max_output - kept.numel()), value=-1)
    return padded, torch.tensor(kept.numel(), device=boxes.device)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    *,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
) -> tuple[Tensor, Tensor]:
    """mmcv's soft_nms in each group: (lowered scores, indices), by descending score, ties in the order of the input."""
    lowered = torch.full_like(scores, -torch.inf)
    for group in idxs.unique():
        live = (idxs == group).nonzero()[:, 0]
        live = live[scores[live] > -torch.inf]
        left = scores[live].clone()
        while len(live):
            best = int(left.argmax())
            selected, lowered[live[best]] = boxes[live[best]], left[best]
            live, left = (torch.cat([values[:best], values[best + 1 :]]) for values in (live, left))
            iou = iou_with(selected, boxes[live])
            decay = {"linear": 1 - iou, "naive": torch.zeros_like(iou), "gaussian": (-(iou**2) / sigma).exp()}[method]
            applies = ~iou.isnan() if method == "gaussian" else iou >= iou_threshold
            left = torch.where(applies, left * decay, left)
            live, left = live[left >= min_score], left[left >= min_score]
    order = lowered.sort(stable=True, descending=True).indices[: int((lowered > -torch.inf).sum())]
    return lowered[order], order
