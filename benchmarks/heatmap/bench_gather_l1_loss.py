"""gather_l1_loss: the size loss of a CenterNet batch, 128 slots of which 7 are valid, forward and backward."""

from __future__ import annotations

import harness
import torch
from torch import Tensor

import ldie_ext

BATCH, SLOTS, VALID, SIDE = 32, 128, 7, 128


def composed(maps: Tensor, index: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Gather in place, masked L1: no transposed copy of the maps, as published code makes."""
    cells = index.clamp(min=0)[:, None].expand(-1, maps.shape[1], -1)
    picked = maps.flatten(2).gather(2, cells).transpose(1, 2)
    mask = valid[..., None].expand_as(picked)
    return ((picked - target).abs() * mask).sum() / (mask.sum() + 1e-4)


def bench_gather_l1_loss(measure: harness.Measure) -> None:
    maps = torch.randn(BATCH, 2, SIDE, SIDE, device=measure.device, requires_grad=True)
    valid = (torch.arange(SLOTS, device=measure.device) < VALID).expand(BATCH, SLOTS).contiguous()
    index = torch.where(valid, torch.randint(0, SIDE * SIDE, (BATCH, SLOTS), device=measure.device), -1)
    target = torch.randn(BATCH, SLOTS, 2, device=measure.device)
    inputs = maps, index, target, valid
    torch.testing.assert_close(ldie_ext.gather_l1_loss(*inputs), composed(*inputs))
    measure(
        f"{BATCH}x2x{SIDE}x{SIDE}, {SLOTS} slots",
        ours=lambda: torch.autograd.grad(ldie_ext.gather_l1_loss(*inputs), maps),
        composed=lambda: torch.autograd.grad(composed(*inputs), maps),
        **harness.step_bytes((index, valid), output=0.0, gradients=maps),
    )
