"""References of the losses family: centre focal loss, sigmoid focal loss, Dice, also of upsampled masks."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, logsigmoid

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


def dice_loss(
    inputs: Tensor, targets: Tensor, *, smooth: float | tuple[float, float] = 1.0, reduction: str = "mean"
) -> Tensor:
    """1 - (2 sum p t + a) / (sum p^2 + sum t^2 + b) of each row (V-Net, SOLO), p = sigmoid(inputs), (a, b) = smooth.

    Rows are the first dimension; all others are summed. 'none' gives [N]; the mean of no rows is 0.
    """
    return dice_of_probabilities(inputs.sigmoid(), targets, smooth=smooth, reduction=reduction)


def dice_of_probabilities(p: Tensor, targets: Tensor, *, smooth: float | tuple[float, float], reduction: str) -> Tensor:
    """`dice_loss` behind its sigmoid."""
    p, t = p.flatten(1), targets.to(p.dtype).flatten(1)
    a, b = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    loss = 1 - (2 * (p * t).sum(1) + a) / ((p * p).sum(1) + (t * t).sum(1) + b)
    if reduction == "mean":
        return loss.sum() / max(1, loss.numel())
    return reduce(loss, reduction)


def gather_upsample_dice(
    logits: Tensor,
    targets: Tensor,
    *,
    cells: Tensor | None = None,
    rows: Tensor | None = None,
    align_corners: bool = False,
    sigmoid: str = "after",
    smooth: float | tuple[float, float] = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Dice of the rows `cells` of logits [R, h, w], upsampled to the size of their targets, rows `rows` of [T, H, W].

    Slots with an index that is of no row have loss 0 and are not counted in the mean.
    """
    cells = torch.arange(len(logits)) if cells is None else cells
    rows = torch.arange(len(cells)) if rows is None else rows
    used = (cells >= 0) & (cells < len(logits)) & (rows >= 0) & (rows < len(targets))
    maps = logits[cells[used]][:, None]

    def upsample(x: Tensor) -> Tensor:
        return interpolate(x, targets.shape[1:], mode="bilinear", align_corners=align_corners)

    p = upsample(maps).sigmoid() if sigmoid == "after" else upsample(maps.sigmoid())
    found = targets[rows[used]]
    if reduction != "none":
        return dice_of_probabilities(p[:, 0], found, smooth=smooth, reduction=reduction)
    loss = dice_of_probabilities(p[:, 0], found, smooth=smooth, reduction="none")
    return torch.zeros(len(cells), dtype=loss.dtype).masked_scatter(used, loss)


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """torchvision's reductions: mean of an empty tensor is NaN, as in torch."""
    return {"none": lambda: loss, "mean": loss.mean, "sum": loss.sum}[reduction]()
