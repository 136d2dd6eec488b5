"""References of the losses family: centre focal loss, sigmoid focal loss, Dice."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from .heatmap import center_heatmap


def center_focal_loss(logits: Tensor, heatmap: Tensor, *, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Penalty-reduced pixelwise focal loss (CornerNet eq. 1), over the number of peaks (not divided when none).

    -sum( (1-p)^alpha log p where heatmap == 1, else (1-heatmap)^beta p^alpha log(1-p) ) / N, p = sigmoid(logits).
    The published code clamps p to [1e-4, 1-1e-4] to keep log finite; on logits log-sigmoid is exact everywhere, so
    nothing is clamped: values agree for |logit| < 9.2, and a badly missed peak keeps its gradient.
    """
    p = logits.sigmoid()
    positive = heatmap == 1
    peak = (1 - p) ** alpha * logsigmoid(logits)
    rest = (1 - heatmap) ** beta * p**alpha * logsigmoid(-logits)
    total = -torch.where(positive, peak, rest).sum()
    return total / positive.sum().clamp(min=1)


def center_focal_loss_from_boxes(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
    min_overlap: float = 0.7,
    radius: str = "cornernet",
) -> Tensor:
    """`center_focal_loss` against the `center_heatmap` of these boxes."""
    heatmap = center_heatmap(
        boxes,
        labels,
        offsets,
        logits.shape[1],
        (logits.shape[2], logits.shape[3]),
        min_overlap=min_overlap,
        radius=radius,
        dtype=logits.dtype,
    )
    return center_focal_loss(logits, heatmap, alpha=alpha, beta=beta)


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """Focal loss (arXiv:1708.02002) as torchvision.ops.sigmoid_focal_loss; a negative alpha switches alpha off.

    gamma = 0 is weighted cross entropy, with the exact gradient also where p is 0 or 1 (pow(0, 0) = 1, derivative 0).
    """
    p = inputs.sigmoid()
    loss = binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    if gamma != 0:
        loss = loss * (1 - (p * targets + (1 - p) * (1 - targets))) ** gamma
    if alpha >= 0:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return reduce(loss, reduction)


def dice_loss(inputs: Tensor, targets: Tensor, *, smooth: float = 1.0, reduction: str = "mean") -> Tensor:
    """1 - (2 sum p t + smooth) / (sum p^2 + sum t^2 + smooth) of each row (V-Net, SOLO), p = sigmoid(inputs).

    Rows are the first dimension; all others are summed. 'none' gives [N]; the mean of no rows is 0.
    """
    p = inputs.sigmoid().flatten(1)
    t = targets.to(p.dtype).flatten(1)
    loss = 1 - (2 * (p * t).sum(1) + smooth) / ((p * p).sum(1) + (t * t).sum(1) + smooth)
    if reduction == "mean":
        return loss.sum() / max(1, loss.numel())
    return reduce(loss, reduction)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """torchvision's reductions: mean of an empty tensor is NaN, as in torch."""
    return {"none": lambda: loss, "mean": loss.mean, "sum": loss.sum}[reduction]()
