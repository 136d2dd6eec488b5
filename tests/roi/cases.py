"""Random RoIs: of all sizes, over the border, and of the degenerate kinds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NAN, INF = float("nan"), float("inf")
DEGENERATE = [[3, 3, 3, 3], [5, 2, 5, 9], [6, 6, 2, 2], [-50, -50, -40, -40], [90, 90, 99, 99], [-1, -1, 0, 0],
              [-200, -200, 200, 200], [0, 0, 0, 0], [7, 1, 2, 8]]  # fmt: skip
NOT_FINITE = [[NAN, 0, 4, 4], [0, NAN, 4, 4], [0, 0, 4, NAN], [-INF, 0, 4, 4], [0, 0, INF, INF], [-3e38, 0, 3e38, 9]]


def make_boxes(count: int, side: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes whose sizes are spread over three octaves up to `side`, some over its border."""
    centre = torch.rand(count, 2, dtype=torch.float64) * side
    size = side * 2 ** (torch.rand(count, 2, dtype=torch.float64) * 3 - 3)
    return torch.cat([centre - size / 2, centre + size / 2], dim=1).to(dtype)


@dataclass(frozen=True)
class Case:
    """One call of roi_align."""

    input: Tensor
    images: list[int]
    boxes: Tensor
    size: tuple[int, int]
    scale: float
    ratio: int
    aligned: bool

    @property
    def rois(self) -> Tensor:
        return torch.cat([torch.tensor(self.images, dtype=self.boxes.dtype)[:, None], self.boxes], dim=1)

    @property
    def options(self) -> tuple[tuple[int, int], float, int, bool]:
        return self.size, self.scale, self.ratio, self.aligned


def pick(*values: float) -> float:
    return values[int(torch.randint(len(values), ()))]


def make_case(number: int, dtype: torch.dtype = torch.float32, largest: int = 48) -> Case:
    """Reproducible by its number; every third has degenerate boxes."""
    torch.manual_seed(number)
    batch, channels = int(torch.randint(1, 4, ())), int(pick(1, 2, 5, 17))
    height, width = (int(torch.randint(1, largest, ())) for _ in range(2))
    scale = pick(1.0, 0.5, 0.25, 0.3)
    boxes = make_boxes(int(pick(1, 3, 9)), max(height, width) / scale, dtype)
    if number % 3 == 0:
        boxes = torch.cat([boxes, torch.tensor(DEGENERATE, dtype=dtype)])
    return Case(
        torch.randn(batch, channels, height, width, dtype=dtype),
        torch.randint(0, batch, (len(boxes),)).tolist(),
        boxes,
        (int(pick(1, 2, 7, 7, 14, 19)), int(pick(1, 3, 7, 7, 14, 19))),
        scale,
        int(pick(-1, 0, 1, 2, 2, 3)),
        bool(pick(0, 1)),
    )
