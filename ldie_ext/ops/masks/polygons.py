"""Polygons of many instances in three flat tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie_ext._public import is_tensor, shown

__all__ = ["Polygons"]


@dataclass(frozen=True)
class Polygons:
    """The outlines of N instances; an instance is the union of its parts, a part one closed polygon.

    Instance ``n`` owns parts ``instance_offsets[n]`` to ``instance_offsets[n + 1]``, part ``s`` owns points
    ``part_offsets[s]`` to ``part_offsets[s + 1]``. Coordinates are continuous pixels: the first pixel is [0, 1].

    Example:
        >>> triangle, pair = [[0, 0, 4, 0, 0, 4]], [[0, 0, 1, 0, 1, 1], [2, 2, 3, 2, 3, 3, 2, 3]]
        >>> polygons = Polygons.from_coco([triangle, pair])
        >>> len(polygons), polygons.instance_offsets.tolist(), polygons.part_offsets.tolist()
        (2, [0, 1, 3], [0, 3, 6, 10])
    """

    coords: Tensor
    """float64 [P, 2], x y of every point."""
    part_offsets: Tensor
    """int64 [S + 1]."""
    instance_offsets: Tensor
    """int64 [N + 1]."""

    def __post_init__(self) -> None:
        if not is_tensor(self.coords, torch.float64, 2) or self.coords.size(1) != 2:
            raise ValueError(f"coords must be float64 [P, 2], got {shown(self.coords)}")
        for name in ("part_offsets", "instance_offsets"):
            offsets = getattr(self, name)
            if not is_tensor(offsets, torch.int64, 1) or offsets.numel() == 0:
                raise ValueError(f"{name} must be int64 [count + 1], at least one element, got {shown(offsets)}")
            if offsets.device != self.coords.device:
                raise ValueError(f"{name} is on {offsets.device}, coords on {self.coords.device}")

    def __len__(self) -> int:
        return self.instance_offsets.numel() - 1

    @staticmethod
    def from_coco(segmentations: Sequence[Sequence[Sequence[float]]]) -> Polygons:
        """Polygons from COCO's annotations.

        Args:
            segmentations: per instance its parts, each ``[x0, y0, x1, y1, ...]``; an instance without parts is legal
                and empty.

        Returns:
            The polygons, on the CPU.

        Raises:
            ValueError: a part is no flat list of finite numbers of even length; the message names instance and part.
        """
        points: list[float] = []
        part_offsets, instance_offsets = [0], [0]
        for instance, parts in enumerate(segmentations):
            for number, part in enumerate(parts):
                points += _checked(part, instance, number)
                part_offsets.append(len(points) // 2)
            instance_offsets.append(len(part_offsets) - 1)
        return Polygons(
            torch.tensor(points, dtype=torch.float64).view(-1, 2),
            torch.tensor(part_offsets, dtype=torch.int64),
            torch.tensor(instance_offsets, dtype=torch.int64),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Polygons:
        """The same polygons on another device."""
        return Polygons(
            self.coords.to(device, non_blocking=non_blocking),
            self.part_offsets.to(device, non_blocking=non_blocking),
            self.instance_offsets.to(device, non_blocking=non_blocking),
        )


def _checked(part: Sequence[float], instance: int, number: int) -> list[float]:
    """A part's numbers, or an error that names it."""
    try:
        numbers = [float(value) for value in part]
        finite = all(map(math.isfinite, numbers))
    except (TypeError, ValueError):
        finite, numbers = False, []
    if not finite or len(numbers) % 2:
        raise ValueError(
            f"segmentations[{instance}][{number}] must be a flat list x0, y0, x1, y1, ... of finite numbers, "
            f"got {str(part)[:60]}"
        )
    return numbers
