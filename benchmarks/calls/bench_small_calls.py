"""What a call costs beyond its arithmetic: inputs so small that Python, dispatcher and launches are all there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import torch
from suppression.boxes import uniform
from torch import Tensor

import ldie_ext

BOXES = 50
THRESHOLD = 0.5


def forward_and_backward(function: Callable[..., Tensor], *leaves: Tensor) -> Callable[[], Any]:
    """One training step of a single op, with a gradient that is already there."""
    grad = torch.ones_like(function())
    return lambda: torch.autograd.grad(function(), leaves, grad)


def bench_nms(measure: harness.Measure) -> None:
    boxes, scores = uniform(BOXES).to(measure.device), torch.rand(BOXES).to(measure.device)
    measure(
        f"nms, {BOXES} boxes",
        ours=lambda: ldie_ext.nms(boxes, scores, THRESHOLD),
        peer=harness.tv and (lambda: harness.tv.nms(boxes, scores, THRESHOLD)),
        read_bytes=harness.bytes_of(boxes, scores),
    )


def bench_batched_nms(measure: harness.Measure) -> None:
    boxes, scores = uniform(BOXES).to(measure.device), torch.rand(BOXES).to(measure.device)
    classes = torch.randint(0, 5, (BOXES,)).to(measure.device)
    measure(
        f"batched_nms, {BOXES} boxes of 5 classes",
        ours=lambda: ldie_ext.batched_nms(boxes, scores, classes, THRESHOLD),
        peer=harness.tv and (lambda: harness.tv.batched_nms(boxes, scores, classes, THRESHOLD)),
        read_bytes=harness.bytes_of(boxes, scores, classes),
    )


def bench_box_iou(measure: harness.Measure) -> None:
    a, b = uniform(10).to(measure.device), uniform(20).to(measure.device)
    measure(
        "box_iou, 10 x 20",
        ours=lambda: ldie_ext.box_iou(a, b),
        peer=harness.tv and (lambda: harness.tv.box_iou(a, b)),
        read_bytes=harness.bytes_of(a, b),
    )


def bench_match_boxes(measure: harness.Measure) -> None:
    gt, offsets = uniform(4).to(measure.device), torch.tensor([0, 4], device=measure.device)
    candidates = uniform(BOXES).to(measure.device)
    measure(
        f"match_boxes, 4 x {BOXES}",
        ours=lambda: ldie_ext.match_boxes(gt, offsets, candidates, 0.7, 0.3),
        read_bytes=harness.bytes_of(gt, offsets, candidates),
    )


def bench_sigmoid_focal_loss(measure: harness.Measure) -> None:
    logits, targets = torch.randn(4, 8, device=measure.device), torch.zeros(4, 8, device=measure.device)
    measure(
        "sigmoid_focal_loss, 32 logits",
        ours=lambda: ldie_ext.sigmoid_focal_loss(logits, targets, reduction="sum"),
        peer=harness.tv and (lambda: harness.tv.sigmoid_focal_loss(logits, targets, reduction="sum")),
        read_bytes=harness.bytes_of(logits, targets),
    )


def bench_sigmoid_focal_loss_training(measure: harness.Measure) -> None:
    logits, targets = torch.randn(4, 8, device=measure.device), torch.zeros(4, 8, device=measure.device)
    logits.requires_grad_()

    def step(op: Callable[..., Tensor]) -> Callable[[], Any]:
        return forward_and_backward(lambda: op(logits, targets, reduction="sum"), logits)

    measure(
        "sigmoid_focal_loss, 32 logits, forward and backward",
        ours=step(ldie_ext.sigmoid_focal_loss),
        peer=harness.tv and step(harness.tv.sigmoid_focal_loss),
        **harness.step_bytes((logits, targets), output=0.0, gradients=logits),
    )


def roi_align_inputs(device: torch.device) -> tuple[Tensor, Tensor]:
    boxes = torch.tensor([[0.0, 1.0, 1.0, 9.0, 12.0], [0.0, 3.0, 2.0, 15.0, 8.0]] * 2)
    return torch.randn(1, 8, 16, 16).to(device), boxes.to(device)


def bench_roi_align(measure: harness.Measure) -> None:
    features, boxes = roi_align_inputs(measure.device)
    measure(
        "roi_align, 4 RoIs 7x7 of 8 channels",
        ours=lambda: ldie_ext.roi_align(features, boxes, 7, 1.0, 2, True),
        peer=harness.tv and (lambda: harness.tv.roi_align(features, boxes, 7, 1.0, 2, True)),
        read_bytes=harness.bytes_of(features, boxes),
    )


def bench_roi_align_training(measure: harness.Measure) -> None:
    features, boxes = roi_align_inputs(measure.device)
    features.requires_grad_()
    output = ldie_ext.roi_align(features, boxes, 7, 1.0, 2, True)

    def step(op: Callable[..., Tensor]) -> Callable[[], Any]:
        return forward_and_backward(lambda: op(features, boxes, 7, 1.0, 2, True), features)

    measure(
        "roi_align, 4 RoIs 7x7 of 8 channels, forward and backward",
        ours=step(ldie_ext.roi_align),
        peer=harness.tv and step(harness.tv.roi_align),
        read_bytes=harness.bytes_of(features, boxes, output),
        written_bytes=harness.bytes_of(output, features),
    )


def deform_conv2d_inputs(device: torch.device) -> list[Tensor]:
    shapes = ((1, 4, 8, 8), (1, 18, 8, 8), (4, 4, 3, 3))  # input, offset, weight
    return [torch.randn(shape).to(device) for shape in shapes]


def bench_deform_conv2d(measure: harness.Measure) -> None:
    tensors = deform_conv2d_inputs(measure.device)
    measure(
        "deform_conv2d, 4 channels 8x8",
        ours=lambda: ldie_ext.deform_conv2d(*tensors, padding=1),
        peer=harness.tv and (lambda: harness.tv.deform_conv2d(*tensors, padding=1)),
        read_bytes=harness.bytes_of(tensors),
    )


def bench_deform_conv2d_training(measure: harness.Measure) -> None:
    tensors = [tensor.requires_grad_() for tensor in deform_conv2d_inputs(measure.device)]

    def step(op: Callable[..., Tensor]) -> Callable[[], Any]:
        return forward_and_backward(lambda: op(*tensors, padding=1), *tensors)

    measure(
        "deform_conv2d, 4 channels 8x8, forward and backward",
        ours=step(ldie_ext.deform_conv2d),
        peer=harness.tv and step(harness.tv.deform_conv2d),
        **harness.step_bytes(tensors, output=ldie_ext.deform_conv2d(*tensors, padding=1), gradients=tensors),
    )
