"""Masks pasted as detectron2 and torchvision specify it, by PyTorch's own interpolation of whole images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def by_grid_sample(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """detectron2's convention: every mask sampled at the centres of all pixels of the image."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    y = (torch.arange(size[0], dtype=boxes.dtype) + 0.5 - y1) / (y2 - y1) * 2 - 1
    x = (torch.arange(size[1], dtype=boxes.dtype) + 0.5 - x1) / (x2 - x1) * 2 - 1
    shape = (len(masks), *size)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0] >= threshold


def by_interpolate(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """torchvision's convention, for boxes of which a part is on the image."""
    pasted = torch.zeros(len(masks), *size, dtype=masks.dtype)
    for mask, box, image in zip(masks, boxes, pasted):
        rows, columns = mask.shape
        x1, x2 = grown(box[0], box[2], columns)
        y1, y2 = grown(box[1], box[3], rows)
        framed = F.pad(mask, (1, 1, 1, 1))[None, None]
        scaled = F.interpolate(framed, size=(max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)), mode="bilinear")[0, 0]
        left, right, top, bottom = max(x1, 0), min(x2 + 1, size[1]), max(y1, 0), min(y2 + 1, size[0])
        if left < right and top < bottom:
            image[top:bottom, left:right] = scaled[top - y1 : bottom - y1, left - x1 : right - x1]
    return pasted > threshold


def grown(begin: Tensor, end: Tensor, cells: int) -> tuple[int, int]:
    """First and last pixel of a box with room for a frame of one cell."""
    half, centre = (end - begin) * 0.5 * ((cells + 2) / cells), (end + begin) * 0.5
    return int(centre - half), int(centre + half)
