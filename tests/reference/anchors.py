"""References for anchors and box coding: the peers' composed formulas."""

import torch
from torch import Tensor

Grid = tuple[int, int]


def torchvision_cells(sizes: tuple[float, ...], ratios: tuple[float, ...]) -> Tensor:
    """Boxes around (0, 0), float32: ratio in the outer loop, corners rounded half to even."""
    height_ratio = torch.tensor(ratios, dtype=torch.float32).sqrt()
    scales = torch.tensor(sizes, dtype=torch.float32)
    width = (1 / height_ratio)[:, None] * scales
    height = height_ratio[:, None] * scales
    return (torch.stack([-width, -height, width, height], dim=-1) / 2).round().reshape(-1, 4)


def detectron2_cells(sizes: tuple[float, ...], ratios: tuple[float, ...]) -> Tensor:
    """Boxes around (0, 0), float32 of float64 formulas: size in the outer loop, nothing rounded."""
    cells = []
    for size in sizes:
        for ratio in ratios:
            width = (size**2.0 / ratio) ** 0.5
            height = ratio * width
            cells.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(cells, dtype=torch.float32).reshape(-1, 4)


def level_anchors(cells: Tensor, grid: Grid, stride: Grid, offset: float) -> Tensor:
    """The cells around every location, ordered by y, x, cell."""
    y = torch.arange(grid[0]) * stride[0] + offset * stride[0]
    x = torch.arange(grid[1]) * stride[1] + offset * stride[1]
    shift_y, shift_x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([shift_x, shift_y, shift_x, shift_y], dim=-1).to(torch.float32)
    return (shifts.reshape(-1, 1, 4) + cells).reshape(-1, 4)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes, [..., 2] each."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


def encode_boxes(boxes: Tensor, proposals: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Offsets of boxes [N, 4] from proposals [N, 4]."""
    scale = torch.tensor(weights, dtype=boxes.dtype)
    (centre, size), (from_centre, from_size) = _centred(boxes), _centred(proposals)
    return torch.cat([scale[:2] * (centre - from_centre) / from_size, scale[2:] * torch.log(size / from_size)], dim=-1)


def decode_boxes(
    deltas: Tensor, proposals: Tensor, weights: tuple[float, ...], clip: float, size: tuple[int, int] | None
) -> Tensor:
    """Boxes in the shape of deltas."""
    moves = deltas.reshape(deltas.shape[0], -1, 4) / torch.tensor(weights, dtype=deltas.dtype)
    from_centre, from_size = _centred(proposals[:, None])
    centre = moves[..., :2] * from_size + from_centre
    half = 0.5 * (torch.exp(moves[..., 2:].clamp(max=clip)) * from_size)
    boxes = torch.cat([centre - half, centre + half], dim=-1)
    if size is not None:
        height, width = size
        x, y = boxes[..., 0::2].clamp(min=0, max=width), boxes[..., 1::2].clamp(min=0, max=height)
        boxes = torch.stack([x, y], dim=-1).flatten(-2)
    return boxes.reshape(deltas.shape)
