"""Inputs of the masked scale loss tests."""

from __future__ import annotations

from typing import Any

import torch
from backends import Backend
from op_checks import random_boxes, random_offsets
from torch import Tensor

import ldie_ext

BATCH, SCALES, CLASSES, SIZE = 3, 3, 5, (9, 14)


def random_scores(dtype: torch.dtype = torch.float32, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(BATCH, SCALES, *size, dtype=dtype)


def box_inputs(count: int, size: tuple[int, int] = SIZE, classes: int = CLASSES) -> dict[str, Tensor]:
    """Boxes of all sizes; a few labels are no class."""
    labels = torch.randint(-1, classes + 1, (count,))
    return {"boxes": random_boxes(count, *size), "labels": labels, "offsets": random_offsets(BATCH, count)}


def to(backend: Backend, values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to(backend.device) if isinstance(value, Tensor) else value for key, value in values.items()}


def loss_and_gradient(scores: Tensor, scale: int, **kwargs: Any) -> tuple[Tensor, Tensor]:
    leaf = scores.detach().requires_grad_()
    loss = ldie_ext.masked_scale_loss(leaf, scale, **kwargs)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]
