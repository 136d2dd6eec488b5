"""sigmoid_focal_loss: forward and backward on the class logits of a RetinaNet level."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import ldie_ext

ELEMENTS = 10_752_000  # 134 400 anchors, 80 classes


def composed(inputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Fewer passes than the textbook form: p_t from the cross entropy itself, valid for targets 0 and 1."""
    cross_entropy = binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    loss = torch.lerp(inputs.new_tensor(0.75), inputs.new_tensor(0.25), targets) * cross_entropy
    loss = loss * (1 - torch.exp(-cross_entropy)).square()
    return loss.sum() if reduction == "sum" else loss.mean()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def bench_sigmoid_focal_loss(measure: harness.Measure, reduction: str) -> None:
    inputs = (torch.randn(ELEMENTS, device=measure.device) * 2 - 3).requires_grad_()
    targets = (torch.rand(ELEMENTS, device=measure.device) < 0.01).float()

    def step(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(), inputs)[0]

    peer = harness.tv and step(lambda: harness.tv.sigmoid_focal_loss(inputs, targets, reduction=reduction))
    measure(
        f"{ELEMENTS} logits, {reduction}, forward and backward",
        ours=step(lambda: ldie_ext.sigmoid_focal_loss(inputs, targets, reduction=reduction)),
        composed=step(lambda: composed(inputs, targets, reduction)),
        peer=peer,
        **harness.step_bytes((inputs, targets), output=0.0, gradients=inputs),
        memory=True,
    )
