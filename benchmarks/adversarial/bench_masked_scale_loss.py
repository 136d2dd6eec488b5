"""masked_scale_loss, forward and backward, on a CenterNet batch: 3 scales, 80 classes, 7 boxes an image."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SCALES, CLASSES, SIDE, SCALE = 3, 80, 128, 0


def signed(scores: Tensor) -> Tensor:
    signs = torch.ones(SCALES, 1, 1, device=scores.device)
    signs[SCALE] = -1
    return scores * signs


def product(scores: Tensor, masks: Tensor) -> Tensor:
    """As published: every class's mask times every scale's score."""
    masked = ldie_ext.materialize_masked_scores(scores, masks)
    return signed(masked).sum() / (SCALES * masks.sum())


def count_map(scores: Tensor, masks: Tensor) -> Tensor:
    """The best composed form: classes summed first, as bytes, which PyTorch vectorises; the product never formed."""
    counts = masks.view(torch.uint8).sum(1, keepdim=True, dtype=torch.uint8).float()
    return signed(scores * counts).sum() / (SCALES * counts.sum())


def drawn(boxes: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
    """Class masks in PyTorch operations, as in bench_box_class_masks."""
    cells = torch.arange(SIDE, device=boxes.device)
    x1, y1, x2, y2 = boxes.trunc()[:, :, None].unbind(1)
    inside = ((cells >= y1) & (cells < y2))[:, :, None] & ((cells >= x1) & (cells < x2))[:, None, :]
    image = torch.bucketize(torch.arange(len(boxes), device=boxes.device), offsets[1:], right=True)
    masks = torch.zeros(len(offsets) - 1, CLASSES, SIDE, SIDE, dtype=torch.bool, device=boxes.device)
    return masks.index_put_((image, labels), inside, accumulate=True)


@pytest.mark.parametrize("composed", [count_map, product])
@pytest.mark.parametrize("source", ["boxes", "masks"])
@pytest.mark.parametrize("batch", [8, 32])
def bench_masked_scale_loss(
    measure: harness.Measure, batch: int, source: str, composed: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """From boxes, where the composed forms draw the masks first, and from masks that stand."""
    if composed is product and batch > 8 and measure.device.type == "cpu":
        pytest.skip("needs several GB for the product")
    count = 7 * batch
    corner = torch.rand(count, 2) * SIDE * 0.8
    boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2) * 40], dim=1).to(measure.device)
    labels = torch.randint(0, CLASSES, (count,), device=measure.device)
    offsets = torch.arange(0, count + 1, 7, device=measure.device)
    scores = torch.randn(batch, SCALES, SIDE, SIDE, device=measure.device, requires_grad=True)
    masks = drawn(boxes, labels, offsets)

    def ours() -> Tensor:
        if source == "masks":
            loss = ldie_ext.masked_scale_loss(scores, SCALE, masks=masks)
        else:
            loss = ldie_ext.masked_scale_loss(scores, SCALE, boxes, labels, offsets, num_classes=CLASSES)
        return torch.autograd.grad(loss, scores)[0]

    def theirs() -> Tensor:
        loss = composed(scores, masks if source == "masks" else drawn(boxes, labels, offsets))
        return torch.autograd.grad(loss, scores)[0]

    torch.testing.assert_close(ours(), theirs())
    measure(
        f"{batch}x{SCALES}x{SIDE}x{SIDE}, {CLASSES} classes from {source}, composed by {composed.__name__}",
        ours=ours,
        composed=theirs,
        read_bytes=harness.bytes_of(scores, masks if source == "masks" else (boxes, labels, offsets)),
        memory=True,
    )
