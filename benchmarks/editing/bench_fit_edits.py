"""fit_edits: one pair of images and many sequences of edits, and Nelder and Mead's simplex on the same problems."""

from __future__ import annotations

import itertools

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp

SIDE = 128
SCALARS = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.EXPOSURE)
FIVE = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.COLOR_CURVE, EditOp.TONE_CURVE)
SIX = (*FIVE, EditOp.EXPOSURE)


def pair(order: tuple[EditOp, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """An image, and the 8-bit result of a sequence."""
    coarse = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    image = (0.75 * coarse + 0.1 * torch.rand(1, 3, SIDE, SIDE)).to(device)
    params = torch.zeros(1, len(order), 24, device=device)
    for k, op in enumerate(order):
        curve = op in (EditOp.COLOR_CURVE, EditOp.TONE_CURVE)
        params[0, k] = (torch.rand(24, device=device) - 0.5).exp() if curve else (-1) ** k * 0.3
    edited = ldie_ext.apply_edits(image, torch.tensor([order], device=device), params)
    return image, (edited * 255).round() / 255


@pytest.mark.parametrize(
    ("allowed", "steps", "simplex"),
    [(SCALARS, 3, True), (FIVE, 5, True), (SIX, 3, False)],
    ids=["scalars", "five", "six"],
)
def bench_fit_edits(measure: harness.Measure, allowed: tuple[EditOp, ...], steps: int, simplex: bool) -> None:
    """All orders of some operators; of five at once the one that made the target."""
    image, target = pair(allowed[:steps], measure.device)
    orders = [allowed] if steps == 5 else list(itertools.permutations(allowed, steps))
    ops = torch.tensor([orders], device=measure.device)
    measure(
        f"{len(orders)} order{'s' * (len(orders) > 1)} of {steps} out of {len(allowed)}, {SIDE} x {SIDE}",
        ours=lambda: ldie_ext.fit_edits(image, target, ops),
        composed=(lambda: ldie_ext.fit_edits(image, target, ops, method="nelder_mead")) if simplex else None,
    )
