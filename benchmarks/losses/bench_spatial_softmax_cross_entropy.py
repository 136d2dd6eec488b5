"""spatial_softmax_cross_entropy: forward and backward of a keypoint head's loss, 128 boxes of 17 keypoints."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import ldie_ext

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def composed(logits: Tensor, index: Tensor, valid: Tensor) -> Tensor:
    """Without gathering the valid maps: cross entropy that ignores the targets of the others."""
    return functional.cross_entropy(logits.flatten(0, 1).flatten(1), torch.where(valid, index, -100).flatten())


def peer(logits: Tensor, index: Tensor, valid: Tensor) -> Tensor:
    """The loss as torchvision's keypointrcnn_loss writes it, targets already made."""
    rows = torch.where(valid.view(-1))[0]
    return functional.cross_entropy(logits.view(-1, logits[0, 0].numel())[rows], index.view(-1)[rows])


@pytest.mark.parametrize("boxes", [16, 128])
def bench_spatial_softmax_cross_entropy(measure: harness.Measure, boxes: int) -> None:
    logits = torch.randn(boxes, 17, 56, 56, device=measure.device, requires_grad=True)
    index = torch.randint(0, 56 * 56, (boxes, 17), device=measure.device)
    valid = torch.rand(boxes, 17, device=measure.device) < 0.7

    def step(loss: Loss) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(logits, index, valid), logits)[0]

    measure(
        f"{boxes}x17x56x56, forward and backward",
        ours=step(ldie_ext.spatial_softmax_cross_entropy),
        composed=step(composed),
        peer=step(peer),
        **harness.step_bytes((logits[valid], index, valid), output=0.0, gradients=logits),
        memory=True,
    )
