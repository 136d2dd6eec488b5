# SPDX-License-Identifier: Apache-2.0
"""Gradient penalty between the features of the scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], features: Sequence[Tensor]) -> Tensor:
    """Mean over pairs of scales and over images of ``(||d sum(critic(x)) / dx|| - 1)^2`` (arXiv:1704.00028).

    ``x`` lies at random between the features of the two scales: ``a F_i + (1 - a) F_j`` with one ``a`` from U(0, 1) for
    each image. The result has gradients in the critic's weights, none in the features.

    Args:
        critic: Scores of features; twice differentiable.
        features: By scale, [B,C,H,W], all of one shape.

    Returns:
        Scalar.
    """
    return torch.stack([_penalty(critic, a.detach(), b.detach()) for a, b in combinations(features, 2)]).mean()


def _penalty(critic: Callable[[Tensor], Tensor], first: Tensor, second: Tensor) -> Tensor:
    share = torch.rand(len(first), 1, 1, 1, dtype=first.dtype, device=first.device)
    between = torch.lerp(second, first, share).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).square().sum(1).add(1e-12).sqrt() - 1).square().mean()  # 1e-12: the root's slope at 0
