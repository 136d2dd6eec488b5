"""masked_scale_loss under autograd: gradients of both orders, the gradient penalty, opcheck, torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import reference.adversarial as reference
import torch
from adversarial.scale_inputs import BATCH, CLASSES, SCALES, SIZE, box_inputs, loss_and_gradient, random_scores, to
from backends import Backend
from op_checks import assert_compiles, assert_same
from torch import Tensor

import ldie_ext


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_gradients_of_both_orders(backend: Backend, kind: str, normalize: bool, weighted: bool) -> None:
    inputs = to(backend, box_inputs(6, (3, 4)))
    weight = torch.rand(BATCH, 1, 3, 4, dtype=torch.float64, device=backend.device) + 0.5 if weighted else None
    scores = random_scores(torch.float64, (3, 4)).to(backend.device).requires_grad_()

    def loss(values: Tensor) -> Tensor:
        return ldie_ext.masked_scale_loss(
            values, 1, **inputs, num_classes=CLASSES, kind=kind, normalize=normalize, weight=weight
        )

    assert torch.autograd.gradcheck(loss, scores)
    assert torch.autograd.gradgradcheck(loss, scores)


def test_hinge_kink_has_slope_zero(backend: Backend) -> None:
    scores = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1).to(backend.device)
    assert_same(loss_and_gradient(scores, 0, kind="hinge")[1], torch.zeros_like(scores))


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_gradient_penalty(backend: Backend, kind: str) -> None:
    """The penalty on the gradient by the features reaches the discriminator's weights as through the reference."""
    inputs, features = box_inputs(9), torch.randn(BATCH, 4, *SIZE, dtype=torch.float64)
    first, second = torch.randn(6, 4, 3, 3, dtype=torch.float64), torch.randn(SCALES, 6, 3, 3, dtype=torch.float64)

    def penalty(function: Any, device: torch.device) -> tuple[Tensor, ...]:
        x, *weights = (value.to(device).requires_grad_() for value in (features, first, second))
        hidden = torch.nn.functional.conv2d(x, weights[0], padding=1).tanh()
        scores = torch.nn.functional.conv2d(hidden, weights[1], padding=1)
        arguments = {key: value.to(device) for key, value in inputs.items()}
        loss = function(scores, 0, **arguments, num_classes=CLASSES, kind=kind)
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        ((gradient.flatten(1).norm(dim=1) - 1) ** 2 * 100).mean().backward()
        return tuple(weight.grad.cpu() for weight in weights if weight.grad is not None)

    actual = penalty(ldie_ext.masked_scale_loss, backend.device)
    expected = penalty(reference.masked_scale_loss, torch.device("cpu"))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_dispatcher_contract(backend: Backend) -> None:
    inputs, scores = to(backend, box_inputs(6)), random_scores().to(backend.device).requires_grad_()
    masks = torch.rand(BATCH, 300, *SIZE, device=backend.device) < 0.5
    weight = torch.rand(BATCH, 1, *SIZE, device=backend.device)
    boxes = tuple(inputs.values())
    forward = backend.op("masked_scale_loss")
    for hinge in (False, True):
        torch.library.opcheck(forward, (scores, *boxes, None, weight, 0, 5, False, False, hinge, True, 0))
        torch.library.opcheck(forward, (scores, None, None, None, masks, None, 0, 1, False, True, hinge, True, 0))
        torch.library.opcheck(forward, (scores, None, None, None, None, None, 0, 1, False, True, hinge, True, 0))
    with torch.no_grad():
        _, counts, reciprocal = forward(scores, *boxes, None, None, 0, 5, False, False, True, True, 0)
    saved = (scores.detach(), counts, reciprocal, weight, 0, False, True)
    gradient = torch.tensor(2.0, device=backend.device, requires_grad=True)
    torch.library.opcheck(backend.op("masked_scale_loss_backward"), (gradient, *saved))
    tangent = torch.randn_like(scores, requires_grad=True)
    torch.library.opcheck(backend.op("masked_scale_loss_double_backward"), (tangent, *saved))


def test_compiles(backend: Backend) -> None:
    inputs, scores = to(backend, box_inputs(6)), random_scores().to(backend.device)

    def gradient(scores: Tensor, boxes: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
        return ldie_ext.masked_scale_loss(scores, 1, boxes, labels, offsets, num_classes=CLASSES)

    assert_compiles(gradient, scores, *inputs.values())
    leaves = [scores.clone().requires_grad_() for _ in range(2)]
    gradient(leaves[0], *inputs.values()).backward()
    torch.compile(gradient, fullgraph=True, backend="aot_eager")(leaves[1], *inputs.values()).backward()
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    assert_same(leaves[1].grad, leaves[0].grad)
