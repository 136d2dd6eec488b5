"""dice_loss: forward and backward on the positive masks of a SOLO batch and on mask-head outputs."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext


def composed(inputs: Tensor, targets: Tensor) -> Tensor:
    """Each sum as a product of rows, so that none of the products is stored."""
    p, t = inputs.sigmoid().flatten(1), targets.flatten(1)
    overlap = torch.linalg.vecdot(p, t)
    return (1 - (2 * overlap + 1) / (torch.linalg.vecdot(p, p) + torch.linalg.vecdot(t, t) + 1)).mean()


@pytest.mark.parametrize("shape", [(64, 200, 336), (512, 28, 28)], ids=str)
def bench_dice_loss(measure: harness.Measure, shape: tuple[int, ...]) -> None:
    inputs = (torch.randn(shape, device=measure.device) * 2 - 2).requires_grad_()
    targets = (torch.rand(shape, device=measure.device) < 0.1).float()

    def step(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(inputs, targets), inputs)[0]

    measure(
        f"{'x'.join(map(str, shape))}, forward and backward",
        ours=step(ldie_ext.dice_loss),
        composed=step(composed),
        **harness.step_bytes((inputs, targets), output=0.0, gradients=inputs),
        memory=True,
    )
