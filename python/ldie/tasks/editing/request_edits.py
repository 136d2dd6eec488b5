# SPDX-License-Identifier: Apache-2.0
"""What requests ask for, done to pictures, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ldie.tasks.editing.request_text import Ask
from ldie_ext import EditOp, apply_edits
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS

FIXED_V = 0.55
"""The mean of V after a brightness that was to be fixed."""


def carry_out(
    images: Tensor, asks: Sequence[Sequence[Ask]], regions: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Does what each picture's request asks for.

    A step whose degree the picture decides sees what the steps before it have made, in bytes, where it acts.

    Args:
        images: uint8 [N, H, W, 3].
        asks: N times the steps, K at most.
        regions: bool [H, W], where each picture is edited; None: everywhere.

    Returns:
        The edited pictures uint8 [N, H, W, 3], the operators int64 [N, K], NONE behind the last, and their parameters
        float32 [N, K, 24].
    """
    most = max(map(len, asks))
    ops = torch.zeros(len(asks), most, dtype=torch.int64)
    params = torch.zeros(len(asks), most, NUM_PARAMETERS)
    for step in range(most):
        open_ones = [i for i, steps in enumerate(asks) if len(steps) > step and not steps[step].aim.levels]
        seen = _edited(images, ops[:, :step], params[:, :step], regions, open_ones)
        found = {
            i: fixing_brightness(picture if (region := regions[i]) is None else picture[region])
            for i, picture in zip(open_ones, seen, strict=True)
        }
        for i, steps in enumerate(asks):
            if len(steps) > step:
                aim, level = steps[step].aim, steps[step].level
                values = aim.levels[level] if aim.levels else (found[i],)
                ops[i, step] = aim.op
                params[i, step, : len(values)] = torch.tensor(values)
    return _edited(images, ops, params, regions, range(len(asks))), ops, params


def _edited(
    images: Tensor, ops: Tensor, params: Tensor, regions: Sequence[Tensor | None], chosen: Sequence[int]
) -> Tensor:
    """Some of the pictures after the steps."""
    of_regions = [i for i in chosen if regions[i] is not None]
    pool = torch.stack([region for i in of_regions if (region := regions[i]) is not None]) if of_regions else None
    numbers = torch.tensor([of_regions.index(i) if regions[i] is not None else -1 for i in chosen], dtype=torch.int64)
    rows = list(chosen)
    index = None if pool is None else numbers[:, None].expand(-1, ops.shape[1]).contiguous()
    return apply_edits(images[rows], ops[rows], params[rows], pool, index, layout="hwc")


def fixing_brightness(pixels: Tensor) -> float:
    """The parameter of BRIGHTNESS that makes the mean of V .55, to four digits, within the operator's limits.

    With k = 1 + p, V becomes min(k V, 1), and the sum over the pixels is the least over t of
    ``k (sum of the V up to t) + (number of those beyond t)``, each of which grows with k. So k is the greatest of those
    that make one of these the sum asked for.

    Args:
        pixels: uint8 [..., 3].
    """
    counts = np.bincount(pixels.numpy().max(-1).ravel(), minlength=256)
    below, beyond = np.cumsum(counts * np.arange(256)), counts.sum() - np.cumsum(counts)
    lit = below > 0
    factors = 255 * (FIXED_V * counts.sum() - beyond[lit]) / below[lit]
    limits = EDIT_OPERATORS[EditOp.BRIGHTNESS]
    # where so many pixels are black that no factor is enough, the sum stays below what is asked for
    enough = FIXED_V * counts.sum() <= counts[1:].sum()
    return round(float(np.clip(factors.max() - 1, limits.low, limits.high)) if enough else limits.high, 4)
