"""The anchors of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register

__all__ = ["grid_anchors"]

Convention = Literal["torchvision", "detectron2"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)  # in the order of the native codes

Numbers = Sequence[float] | Sequence[Sequence[float]]
Lists = tuple[tuple[float, ...], ...]
Pairs = tuple[tuple[int, int], ...]


def grid_anchors(
    sizes: Numbers,
    aspect_ratios: Numbers,
    grid_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int] | Sequence[tuple[int, int]],
    *,
    convention: Convention = "torchvision",
    offset: float = 0.0,
    device: torch.device | str | None = None,
) -> list[Tensor]:
    """Anchors of every location of every level of a feature pyramid, in one launch.

    Location (y, x) of a level carries one anchor for each of the level's sizes and ratios, around
    ``((x + offset) * stride_x, (y + offset) * stride_y)``, ``size / sqrt(ratio)`` wide and ``size * sqrt(ratio)`` high.

    Args:
        sizes: side of a square anchor in pixels, positive: a list for each level, or one number for each level.
        aspect_ratios: height / width, positive: a list for each level, or one flat list for all of them.
        grid_sizes: (H, W) of each level's map, may be symbolic; a level without locations has no anchors.
        strides: pixels between neighbouring locations of each level, at least 0: one number or (vertical, horizontal).
        convention: 'torchvision' rounds the corners around (0, 0) to whole pixels, half to even, and runs through the
            sizes of one ratio first; 'detectron2' rounds nothing and runs through the ratios of one size first.
        offset: of the first location from the image's corner, in strides; torchvision has 0, detectron2 0 or 0.5.
        device: of the result; None is PyTorch's default device.

    Returns:
        For each level float32 [H * W * A, 4], x1 y1 x2 y2 in pixels, ordered by y, x, anchor: views of one tensor that
        holds the levels one after the other. Always float32, as 16 bits cannot hold pixel coordinates. The bits are
        those of the peer named by convention.

    Raises:
        RuntimeError: the lists are not one per level, a size or ratio is not positive, or there are more than 16
            levels or more than 128 sizes times ratios over all levels.
        ValueError: an unknown convention.

    Differentiable: no, nothing here could be. Deterministic: yes.

    Source: Ren et al., Faster R-CNN, arXiv:1506.01497. Native code: csrc/boxes/grid_anchors.h

    Example:
        >>> fine, coarse = grid_anchors((32, 64), (0.5, 1.0), [(2, 3), (1, 2)], (8, 16))
        >>> coarse
        tensor([[-45., -23.,  45.,  23.],
                [-32., -32.,  32.,  32.],
                [-29., -23.,  61.,  23.],
                [-16., -32.,  48.,  32.]])
    """
    size_lists, ratio_lists = per_level(sizes, aspect_ratios)
    pairs = tuple(stride if isinstance(stride, Sequence) else (stride, stride) for stride in strides)
    flat = flat_anchors(size_lists, ratio_lists, tuple(grid_sizes), pairs, convention, offset, device)
    counts = zip(size_lists, ratio_lists, grid_sizes, strict=True)
    return list(flat.split([len(size) * len(ratio) * height * width for size, ratio, (height, width) in counts]))


def per_level(sizes: Numbers, aspect_ratios: Numbers) -> tuple[Lists, Lists]:
    """A list of sizes and one of ratios for each level, from the short forms that torchvision also takes."""
    size_lists, ratio_lists = _lists(sizes), _lists(aspect_ratios)
    if not any(isinstance(ratios, Sequence) for ratios in aspect_ratios):  # one flat list, for all levels
        ratio_lists = (tuple(ratio for ratios in ratio_lists for ratio in ratios),) * len(size_lists)
    return size_lists, ratio_lists


def _lists(values: Numbers) -> Lists:
    return tuple(tuple(value) if isinstance(value, Sequence) else (value,) for value in values)


def flat_anchors(
    sizes: Lists,
    aspect_ratios: Lists,
    grid_sizes: Pairs,
    strides: Pairs,
    convention: str,
    offset: float,
    device: torch.device | str | None,
) -> Tensor:
    """The anchors of all levels in one tensor; every argument is hashable."""
    return _library.ops.grid_anchors(
        torch.empty(0, device=device),
        [float(size) for level in sizes for size in level],
        [len(level) for level in sizes],
        [float(ratio) for level in aspect_ratios for ratio in level],
        [len(level) for level in aspect_ratios],
        [side for grid in grid_sizes for side in grid],
        [step for stride in strides for step in stride],
        option_code("convention", convention, CONVENTIONS),
        float(offset),
    )


def _fake(
    like: Tensor,
    sizes: list[float],
    size_counts: list[int],
    aspect_ratios: list[float],
    ratio_counts: list[int],
    grid_sizes: list[int],
    strides: list[int],
    convention: int,
    offset: float,
) -> Tensor:
    counts = zip(size_counts, ratio_counts, grid_sizes[::2], grid_sizes[1::2], strict=True)
    anchors = sum(size * ratio * height * width for size, ratio, height, width in counts)
    return like.new_empty((anchors, 4), dtype=torch.float32)


register("grid_anchors", fake=_fake, discrete=True)
