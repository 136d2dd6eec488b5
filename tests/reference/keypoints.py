"""References of the keypoint ops: target cells, the spatial softmax loss, decoding (Mask R-CNN, arXiv:1703.06870)."""

import torch
from torch import Tensor
from torch.nn import functional


def keypoint_targets(keypoints: Tensor, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(index int64 [N, K], valid bool [N, K]), keypoint by keypoint in the precision of the inputs."""
    compute = torch.float64 if keypoints.dtype == torch.float64 else torch.float32
    index = torch.zeros(keypoints.shape[:2], dtype=torch.int64)
    valid = torch.zeros(keypoints.shape[:2], dtype=torch.bool)
    for n, k in torch.cartesian_prod(*map(torch.arange, index.shape)).tolist():
        x, y, visible = keypoints[n, k].to(compute)
        x1, y1, x2, y2 = boxes[n].to(compute)
        column = torch.tensor(size[1] - 1.0) if x == x2 else ((x - x1) * (size[1] / (x2 - x1))).floor()
        row = torch.tensor(size[0] - 1.0) if y == y2 else ((y - y1) * (size[0] / (y2 - y1))).floor()
        if visible > 0 and 0 <= column < size[1] and 0 <= row < size[0]:
            index[n, k], valid[n, k] = int(row) * size[1] + int(column), True
    return index, valid


def spatial_softmax_cross_entropy(logits: Tensor, index: Tensor, valid: Tensor, reduction: str) -> Tensor:
    """torchvision's keypointrcnn_loss: cross entropy of the valid maps, gathered."""
    counts = valid & (index >= 0) & (index < logits[0, 0].numel()) if logits.numel() else valid & False
    losses = functional.cross_entropy(logits.flatten(2)[counts], index[counts], reduction="none")
    if reduction == "none":
        return logits.new_zeros(index.shape).masked_scatter(counts, losses)
    return losses.sum() / (max(len(losses), 1) if reduction == "mean" else 1)


def resized_heatmap(heatmap: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """The map of torchvision's heatmaps_to_keypoints, resized to whole pixels of the box; a pixel's size in x and y."""
    sides = (box[2:] - box[:2]).clamp(min=1)
    width, height = sides.ceil().long().tolist()
    resized = functional.interpolate(heatmap[None, None], size=(height, width), mode="bicubic", align_corners=False)
    return resized[0, 0], sides / sides.ceil()
