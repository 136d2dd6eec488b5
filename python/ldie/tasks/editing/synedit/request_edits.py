# SPDX-License-Identifier: Apache-2.0
"""What requests ask for, done to pictures, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ldie.tasks.editing.replay import edited_batch
from ldie.tasks.editing.synedit.request_text import Ask
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS

FIXED_V = 0.55
"""The mean of V after a brightness that was to be fixed."""


def carry_out(images: Tensor, asks: Sequence[Sequence[Ask]], regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Does what each picture's request asks for.

    A step whose degree the picture decides sees what the steps before it have made, in bytes, where it acts.

    Args:
        images: uint8 [N, 3, H, W].
        asks: N times the steps, K at most.
        regions: bool [N, H, W], where each picture is edited.

    Returns:
        The edited pictures uint8 [N, 3, H, W], the operators int64 [N, K], NONE behind the last, and their parameters
        float32 [N, K, 24].
    """
    most = max(map(len, asks))
    ops = torch.zeros(len(asks), most, dtype=torch.int64)
    params = torch.zeros(len(asks), most, NUM_PARAMETERS)
    for step in range(most):
        there = [i for i, steps in enumerate(asks) if len(steps) > step]
        open_ones = [i for i in there if not asks[i][step].aim.levels]
        seen = edited_batch(images[open_ones], ops[open_ones, :step], params[open_ones, :step], regions[open_ones])
        found = {i: fixing_brightness(picture[:, regions[i]]) for i, picture in zip(open_ones, seen, strict=True)}
        for i in there:
            aim, level = asks[i][step].aim, asks[i][step].level
            values = aim.levels[level] if aim.levels else (found[i],)
            ops[i, step] = aim.op
            params[i, step, : len(values)] = torch.tensor(values)
    return edited_batch(images, ops, params, regions), ops, params


def fixing_brightness(pixels: Tensor) -> float:
    """The parameter of BRIGHTNESS that makes the mean of V .55, to four digits, within the operator's limits.

    With k = 1 + p, V becomes min(k V, 1), and the sum over the pixels is the least over t of
    ``k (sum of the V up to t) + (number of those beyond t)``, each of which grows with k. So k is the greatest of those
    that make one of these the sum asked for.

    Args:
        pixels: uint8 [3, N].
    """
    counts = np.bincount(pixels.numpy().max(0), minlength=256)
    below, beyond = np.cumsum(counts * np.arange(256)), counts.sum() - np.cumsum(counts)
    lit = below > 0
    factors = 255 * (FIXED_V * counts.sum() - beyond[lit]) / below[lit]
    limits = EDIT_OPERATORS[EditOp.BRIGHTNESS]
    # where so many pixels are black that no factor is enough, the sum stays below what is asked for
    enough = FIXED_V * counts.sum() <= counts[1:].sum()
    return round(float(np.clip(factors.max() - 1, limits.low, limits.high)) if enough else limits.high, 4)
