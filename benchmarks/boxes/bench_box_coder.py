"""encode_boxes and decode_boxes on the anchors of an 800 x 1344 image, and per class on the boxes of a second stage."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

ANCHORS = 268_569
CLIP = 4.135
SIZE = (800, 1344)


def anchors(count: int, device: torch.device) -> Tensor:
    centre, size = torch.rand(count, 2, device=device) * 1000, torch.rand(count, 2, device=device) * 200 + 8
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def composed_encode(boxes: Tensor, proposals: Tensor) -> Tensor:
    size, from_size = boxes[:, 2:] - boxes[:, :2], proposals[:, 2:] - proposals[:, :2]
    move = (boxes[:, :2] + boxes[:, 2:] - proposals[:, :2] - proposals[:, 2:]) / (2 * from_size)
    return torch.cat([move, torch.log(size / from_size)], dim=1)


def composed_decode(deltas: Tensor, proposals: Tensor) -> Tensor:
    """Both axes at once, in half of the passes that the textbook form takes."""
    deltas = deltas.unflatten(1, (-1, 4))
    size = (proposals[:, 2:] - proposals[:, :2])[:, None]
    centre = torch.addcmul(proposals[:, None, :2] + 0.5 * size, deltas[..., :2], size)
    half = 0.5 * size * deltas[..., 2:].clamp(max=CLIP).exp()
    low, high = centre - half, centre + half
    limit = torch.tensor([SIZE[1], SIZE[0]], device=deltas.device)
    return torch.cat([low.clamp_(min=0).minimum(limit), high.clamp_(min=0).minimum(limit)], dim=-1)


def bench_encode_boxes(measure: harness.Measure) -> None:
    boxes, proposals = anchors(ANCHORS, measure.device), anchors(ANCHORS, measure.device)
    coder = harness.torchvision and harness.torchvision.models.detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
    measure(
        f"encode {ANCHORS} boxes",
        ours=lambda: ldie_ext.encode_boxes(boxes, proposals),
        composed=lambda: composed_encode(boxes, proposals),
        peer=coder and (lambda: coder.encode_single(boxes, proposals)),
        read_bytes=harness.bytes_of(boxes, proposals),
        memory=True,
    )


@pytest.mark.parametrize(("rows", "classes"), [(ANCHORS, 1), (2000, 91)])
def bench_decode_boxes(measure: harness.Measure, rows: int, classes: int) -> None:
    proposals, deltas = anchors(rows, measure.device), torch.randn(rows, 4 * classes, device=measure.device) * 0.5
    coder = harness.torchvision and harness.torchvision.models.detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))

    def peer() -> Tensor:
        return harness.tv.clip_boxes_to_image(coder.decode(deltas, [proposals]), SIZE)

    measure(
        f"decode and clip {rows} x {classes} boxes",
        ours=lambda: ldie_ext.decode_boxes(deltas, proposals, clip=CLIP, size=SIZE),
        composed=lambda: composed_decode(deltas, proposals),
        peer=coder and peer,
        read_bytes=harness.bytes_of(deltas, proposals),
        memory=True,
    )


def bench_decode_boxes_with_gradient(measure: harness.Measure) -> None:
    """What a loss on decoded boxes needs: forward, and backward to the deltas."""
    proposals = anchors(ANCHORS, measure.device)
    deltas = (torch.randn(ANCHORS, 4, device=measure.device) * 0.5).requires_grad_()
    grad = torch.randn(ANCHORS, 4, device=measure.device)
    coder = harness.torchvision and harness.torchvision.models.detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
    measure(
        f"decode {ANCHORS} boxes, forward and backward",
        ours=lambda: torch.autograd.grad(ldie_ext.decode_boxes(deltas, proposals), deltas, grad),
        peer=coder and (lambda: torch.autograd.grad(coder.decode_single(deltas, proposals), deltas, grad)),
        **harness.step_bytes((deltas, proposals), output=grad, gradients=deltas),
        memory=True,
    )
