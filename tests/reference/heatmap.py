"""References of the heatmap family: centre heatmaps and targets, peaks, gathered L1 (CenterNet, arXiv:1904.07850)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class CenterTargets(NamedTuple):
    """Regression targets of the box centres; slot m belongs to box m of the image."""

    index: Tensor  # int64 [B,M], y * W + x of the centre's cell; -1 where not valid
    wh: Tensor  # [B,M,2], width and height; 0 where not valid
    offset: Tensor  # [B,M,2], centre minus its cell, in [0, 1); 0 where not valid
    valid: Tensor  # bool [B,M]


def gaussian_radius(height: float, width: float, min_overlap: float, radius: str) -> float:
    """Largest corner shift that keeps IoU >= min_overlap with a box of this size (CornerNet, three cases).

    'exact' takes the roots of a*r^2 - b*r + c (divided by 2a); 'cornernet' is the published code, which takes the
    larger root and divides by 2 in all three cases. Both in float64.
    """
    o, h, w = min_overlap, height, width
    b1, c1 = h + w, w * h * (1 - o) / (1 + o)
    b2, c2 = 2 * (h + w), (1 - o) * w * h
    a3, b3, c3 = 4 * o, -2 * o * (h + w), (o - 1) * w * h
    root1 = math.sqrt(b1 * b1 - 4 * c1)
    root2 = math.sqrt(b2 * b2 - 16 * c2)
    root3 = math.sqrt(b3 * b3 - 4 * a3 * c3)
    if radius == "cornernet":
        return min((b1 + root1) / 2, (b2 + root2) / 2, (b3 + root3) / 2)
    return min((b1 - root1) / 2, (b2 - root2) / 8, (b3 + root3) / (2 * a3))


def center_cell(box: Tensor, size: tuple[int, int]) -> tuple[int, int, Tensor, Tensor] | None:
    """(x, y, centre [2], wh [2]) of a box, or None where the box has no target.

    A box counts when width > 0, height > 0 (both finite) and its centre lies in [0, W) x [0, H); NaN fails every
    comparison. Width, height and centre are computed in the boxes' own dtype, in float32 for 16-bit boxes.
    """
    box = box.float() if box.dtype.itemsize == 2 else box
    wh = box[2:] - box[:2]
    center = (box[:2] + box[2:]) / 2
    width, height = wh.tolist()
    x, y = center.tolist()
    if not (0 < width < math.inf and 0 < height < math.inf and 0 <= x < size[1] and 0 <= y < size[0]):
        return None
    return int(x), int(y), center, wh


def center_heatmap(
    boxes: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    size: tuple[int, int],
    *,
    min_overlap: float = 0.7,
    radius: str = "cornernet",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Gaussians exp(-d^2 / 2 sigma^2) of radius max(0, int(r)), sigma = (2 radius + 1) / 6, joined by the maximum.

    r comes from ceil(height), ceil(width). Boxes without a target (see `center_cell`) and rows whose label is outside
    [0, num_classes) are skipped. The Gaussian is computed in float64 and rounded once to `dtype`. The published code
    zeroes values below eps * max with eps of float64: as the window's corner is exp(-36 radius^2 / (2 radius + 1)^2)
    > exp(-9), the rule never acts, for the eps of float32 neither.
    """
    height, width = size
    batch = offsets.numel() - 1
    heatmap = torch.zeros(batch, num_classes, height, width, dtype=torch.float64)
    for image in range(batch):
        for row in range(int(offsets[image]), int(offsets[image + 1])):
            cell = center_cell(boxes[row], size)
            label = int(labels[row])
            if cell is None or not 0 <= label < num_classes:
                continue
            cx, cy, _, wh = cell
            box_w, box_h = (min(float(math.ceil(side)), 1e150) for side in wh.tolist())  # whose powers are finite
            rho = max(0, int(gaussian_radius(box_h, box_w, min_overlap, radius)))
            sigma = (2 * rho + 1) / 6
            x0, x1 = max(cx - rho, 0), min(cx + rho + 1, width)
            y0, y1 = max(cy - rho, 0), min(cy + rho + 1, height)
            dx = torch.arange(x0, x1, dtype=torch.float64) - cx
            dy = torch.arange(y0, y1, dtype=torch.float64) - cy
            gaussian = torch.exp(-(dx[None, :] ** 2 + dy[:, None] ** 2) / (2 * sigma * sigma))
            window = heatmap[image, label, y0:y1, x0:x1]
            torch.maximum(window, gaussian, out=window)
    return heatmap.to(dtype).to(boxes.device)


def center_targets(
    boxes: Tensor, labels: Tensor, offsets: Tensor, size: tuple[int, int], max_objects: int
) -> CenterTargets:
    """Slot m of image b is box offsets[b] + m; boxes past max_objects are dropped.

    A slot is invalid (index -1, zeros) past the image's boxes, for a box without a target (see `center_cell`) and for
    a negative label.
    """
    batch = offsets.numel() - 1
    index = torch.full((batch, max_objects), -1, dtype=torch.int64)
    wh = torch.zeros(batch, max_objects, 2, dtype=boxes.dtype)
    offset = torch.zeros(batch, max_objects, 2, dtype=boxes.dtype)
    for image in range(batch):
        start, end = int(offsets[image]), int(offsets[image + 1])
        for slot, row in enumerate(range(start, min(end, start + max_objects))):
            cell = center_cell(boxes[row], size)
            if cell is None or int(labels[row]) < 0:
                continue
            cx, cy, center, sides = cell
            index[image, slot] = cy * size[1] + cx
            wh[image, slot] = sides
            offset[image, slot] = center - torch.tensor([cx, cy], dtype=center.dtype)
    return CenterTargets(*(t.to(boxes.device) for t in (index, wh, offset, index >= 0)))


def heatmap_peaks(scores: Tensor, k: int, *, per_class: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(scores, labels, y, x), each [B,k], or [B,C,k] with per_class: the k best 3x3 local maxima.

    A peak is > -inf and equal to the maximum of its 3x3 window (clipped at the border); equal neighbours are all
    peaks, and a NaN is none and makes none of its neighbours one. Sorted by descending score, ties by the lower flat
    index (class, y, x). Unused slots: score -inf, labels, y and x -1.
    """
    batch, classes, height, width = scores.shape
    values = scores.detach().double().cpu()
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1), value=-math.inf)
    if values.numel() > 0:
        window = padded.unfold(2, 3, 1).unfold(3, 3, 1).amax((-2, -1))  # amax propagates NaN, which equals nothing
        values = torch.where((values == window) & (values > -math.inf), values, -math.inf)
    rows = values.flatten(0, 1).flatten(1) if per_class else values.flatten(1)
    best, flat = rows.sort(dim=1, descending=True, stable=True)
    best, flat = best[:, :k], flat[:, :k]
    short = k - best.shape[1]
    best = torch.nn.functional.pad(best, (0, short), value=-math.inf)
    flat = torch.nn.functional.pad(flat, (0, short))
    used = best > -math.inf
    area, width = max(height * width, 1), max(width, 1)
    if per_class:
        labels = torch.arange(classes).repeat(batch)[:, None].expand_as(flat)
    else:
        labels = flat // area
    outputs = [best.to(scores.dtype)] + [torch.where(used, t, -1) for t in (labels, flat % area // width, flat % width)]
    shape = (batch, classes, k) if per_class else (batch, k)
    return tuple(t.reshape(shape).to(scores.device) for t in outputs)


def gather_l1_loss(maps: Tensor, index: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """sum |maps[b, c, index[b, m]] - target[b, m, c]| over valid slots / (valid slots * C + 1e-4); differentiable.

    A slot whose index lies outside the map counts as not valid.
    """
    channels = maps.shape[1]
    valid = valid & (index >= 0) & (index < maps.shape[2] * maps.shape[3])
    total = maps.new_zeros(())
    for image, slot in valid.nonzero().tolist():
        picked = maps[image].reshape(channels, -1)[:, index[image, slot]]
        total = total + (picked - target[image, slot]).abs().sum()
    return total / (int(valid.sum()) * channels + 1e-4)


def gaussian_maps(
    centers: Tensor, radius: Tensor, size: tuple[int, int], *, step: float = 1.0, kind: str = "half"
) -> Tensor:
    """Cell by cell in float64: [N,H,W] of centers [N,2] and radius [N]."""
    centers, radius = centers.double() / step, radius.double() / step
    factor = {"half": math.log(2), "fwhm": 4 * math.log(2), "sigma": 0.5}
    maps = torch.zeros(len(centers), *size, dtype=torch.float64)
    for n, ((x, y), r) in enumerate(zip(centers.tolist(), radius.tolist(), strict=True)):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        if kind == "onehot":
            if 0 <= x < size[1] and 0 <= y < size[0]:
                maps[n, int(y), int(x)] = 1
            continue
        if not r >= 0:
            continue
        for i in range(size[0]):
            for j in range(size[1]):
                squared = (j + 0.5 - x) ** 2 + (i + 0.5 - y) ** 2
                if r == 0 or squared == 0:
                    maps[n, i, j] = squared == 0
                else:
                    maps[n, i, j] = math.exp(-factor[kind] * squared / r**2)
    return maps
