"""Masks at coarser strides, cell by cell as the definition has it, in NumPy's integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mask_target_pyramid(
    masks: np.ndarray, strides: Sequence[int], mode: str
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Levels, centres and areas of bool [N, H, W]."""
    levels = [np.stack([level(mask, stride, mode) for mask in masks]) for stride in strides]
    areas = np.array([mask.sum() for mask in masks], np.int64)
    return levels, np.array([center(mask) for mask in masks], np.float32).reshape(-1, 2), areas


def center(mask: np.ndarray) -> tuple[float, float]:
    ys, xs = mask.nonzero()
    return (xs.sum() / len(xs), ys.sum() / len(ys)) if len(xs) else (0.0, 0.0)


def level(mask: np.ndarray, stride: int, mode: str) -> np.ndarray:
    if mode == "nearest":
        return mask[::stride, ::stride]
    if mode == "bilinear":
        return mask if stride == 1 else round_the_centre(mask, stride) >= 2
    count = counts(mask, stride)
    if mode == "fraction":
        return (count / stride**2).astype(np.float32)
    cells = 2 * count >= stride**2
    if mask.any():
        cells[np.unravel_index(count.argmax(), count.shape)] = True
    return cells


def counts(mask: np.ndarray, stride: int) -> np.ndarray:
    """How many pixels of each cell are set."""
    rows, columns = range(0, mask.shape[0], stride), range(0, mask.shape[1], stride)
    cells = [[mask[y : y + stride, x : x + stride].sum() for x in columns] for y in rows]
    return np.array(cells, np.int64).reshape(len(rows), len(columns))


def round_the_centre(mask: np.ndarray, stride: int) -> np.ndarray:
    """How many of the four pixels round each cell's centre are set."""
    rows, columns = range(0, mask.shape[0], stride), range(0, mask.shape[1], stride)
    first = stride // 2 - 1
    cells = [[mask[y + first : y + first + 2, x + first : x + first + 2].sum() for x in columns] for y in rows]
    return np.array(cells, np.int64).reshape(len(rows), len(columns))
