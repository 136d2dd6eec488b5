"""gather_upsample_dice: forward and backward on the cells of a SOLO image that learn, at a quarter of its size.

The composed form gathers the cells' logits first, or, as the original did, upsamples those of all cells of the level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import harness
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

import ldie_ext

CELLS, LEVEL, SIZE, TARGET = 60, 1600, (100, 168), (200, 336)


def composed(logits: Tensor, targets: Tensor, cells: Tensor, *, all_cells: bool, align_corners: bool) -> Tensor:
    """Each sum as a product of rows, so that none of the products is stored."""
    maps = logits if all_cells else logits[cells]
    upsampled = interpolate(maps[:, None], TARGET, mode="bilinear", align_corners=align_corners)[:, 0]
    p, t = (upsampled[cells] if all_cells else upsampled).sigmoid().flatten(1), targets.float().flatten(1)
    overlap = torch.linalg.vecdot(p, t)
    return (1 - (2 * overlap + 1) / (torch.linalg.vecdot(p, p) + torch.linalg.vecdot(t, t) + 1)).mean()


@pytest.mark.parametrize(
    ("case", "all_cells", "align_corners"),
    [("", False, False), (", corners aligned", False, True), (", against all upsampled", True, False)],
)
def bench_gather_upsample_dice(measure: harness.Measure, case: str, all_cells: bool, align_corners: bool) -> None:
    logits = (torch.randn(LEVEL, *SIZE, device=measure.device) * 2 - 2).requires_grad_()
    masks = torch.rand(CELLS, *TARGET) < 0.1
    packed = torch.from_numpy(np.packbits(masks.numpy(), axis=-1, bitorder="little")).to(measure.device)
    masks, cells = masks.to(measure.device), torch.randperm(LEVEL, device=measure.device)[:CELLS]
    options = {"cells": cells, "align_corners": align_corners}

    def step(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(), logits)[0]

    measure(
        f"{CELLS} of {LEVEL} cells, {SIZE[0]}x{SIZE[1]} to {TARGET[0]}x{TARGET[1]}, forward and backward{case}",
        ours=step(lambda: ldie_ext.gather_upsample_dice(logits, packed, packed_width=TARGET[1], **options)),
        composed=step(partial(composed, logits, masks, all_cells=all_cells, **options)),
        **harness.step_bytes((logits[:CELLS], packed), output=0.0, gradients=logits),
        flops=80 * masks.numel(),
        memory=True,
    )
