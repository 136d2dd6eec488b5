"""The pyramid and boxes of a detector: P2 to P5 of two 800 x 1344 images, 256 channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import harness
import torch
from torch import Tensor

BATCH, CHANNELS, HEIGHT, WIDTH = 2, 256, 800, 1344
SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
RATIO = 2


def random_boxes(count: int) -> Tensor:
    corner = torch.rand(count, 2) * torch.tensor([WIDTH - 1.0, HEIGHT])
    return torch.cat([corner, corner + torch.rand(count, 2) * 300 + 4], dim=1).clamp(max=WIDTH - 12)


@dataclass
class Scene:
    """Features that require gradients, and `count` boxes over both images."""

    count: int
    device: torch.device
    memory_format: torch.memory_format = torch.contiguous_format

    def __post_init__(self) -> None:
        maps = [torch.randn(BATCH, CHANNELS, int(HEIGHT * s), int(WIDTH * s), device=self.device) for s in SCALES]
        self.features = [each.contiguous(memory_format=self.memory_format).requires_grad_() for each in maps]
        self.per_image = [random_boxes(self.count // BATCH).to(self.device) for _ in range(BATCH)]
        self.boxes = torch.cat(self.per_image)
        self.offsets = torch.arange(0, self.count + 1, self.count // BATCH, device=self.device)

    def clear(self) -> None:
        for feature in self.features:
            feature.grad = None

    @cached_property
    def named(self) -> dict[str, Tensor]:
        return {str(i): feature for i, feature in enumerate(self.features)}

    def peer(self, size: int) -> object:
        """Torchvision's pooler, warmed up so that it knows its scales."""
        pooler = harness.tv.MultiScaleRoIAlign(list(self.named), size, RATIO)
        return lambda: pooler(self.named, self.per_image, [(HEIGHT, WIDTH)] * BATCH)
