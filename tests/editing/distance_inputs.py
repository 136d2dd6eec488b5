"""Pairs of images, candidate sequences of edits, and other ways to their distances."""

from __future__ import annotations

from dataclasses import replace

import torch
from backends import Backend
from editing.edit_inputs import CHAIN, Edits, expected, sequences
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp

METRICS = ["l1", "l2"]


def candidates(images: int, sequences_of_one: list[list[EditOp]], inside: float = 1.0) -> Edits:
    """The same operators for each image, other parameters for each: ops [B, P, K]."""
    flat = sequences(sequences_of_one * images, inside)
    shape = images, len(sequences_of_one)
    return Edits(flat.ops.unflatten(0, shape), flat.params.unflatten(0, shape))


def distances(images: Tensor, targets: Tensor, edits: Edits, metric: str = "l1") -> Tensor:
    return ldie_ext.edit_distances(images, targets, **vars(edits), metric=metric)  # type: ignore[arg-type]


def flattened(edits: Edits) -> Edits:
    """Candidates as the sequences of so many images."""
    rows = (None if each is None else each.flatten(0, 1) for each in (edits.ops, edits.params, edits.mask_index,
                                                                      edits.exclusive))  # fmt: skip
    ops, params, mask_index, exclusive = rows
    assert ops is not None
    assert params is not None
    return Edits(ops, params, edits.masks, mask_index, exclusive)


def mean_distances(edited: Tensor, targets: Tensor, metric: str) -> Tensor:
    """Of edited images [B * P, 3, H, W]."""
    difference = edited.unflatten(0, (len(targets), -1)) - targets[:, None]
    return (difference.abs() if metric == "l1" else difference.square()).mean((2, 3, 4))


def reference(images: Tensor, targets: Tensor, edits: Edits, metric: str) -> Tensor:
    """In float64, of images and targets in [0, 1]."""
    repeated = images.repeat_interleave(edits.ops.shape[1], 0)
    return mean_distances(expected(repeated, flattened(edits)), targets.double(), metric)


def composed(images: Tensor, targets: Tensor, edits: Edits, metric: str) -> Tensor:
    repeated = images.repeat_interleave(edits.ops.shape[1], 0)
    return mean_distances(flattened(edits).on(repeated), targets, metric)


def pair(backend: Backend, *shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    images, targets = torch.rand(2, *shape).to(dtype)
    return images.to(backend.device), targets.to(backend.device)


#: Candidates of five steps, some with stencils.
MIXED = [
    CHAIN,
    [EditOp.SHARPNESS, EditOp.CONTRAST, EditOp.EDGE, EditOp.NONE, EditOp.BLUR],
    [EditOp.HUE, EditOp.NONE, EditOp.LIGHTNESS, EditOp.NONE, EditOp.EXPOSURE],
    [EditOp.TONE_CURVE, EditOp.NONE, EditOp.BLUR, EditOp.COLOR_CURVE, EditOp.SATURATION],
    [EditOp.NONE] * 5,
]


def gradients(
    images: Tensor,
    targets: Tensor,
    edits: Edits,
    metric: str,
    function: object = distances,
    weights: Tensor | None = None,
) -> tuple[Tensor, ...]:
    leaves = [each.detach().clone().requires_grad_() for each in (images, targets, edits.params)]
    out = function(*leaves[:2], replace(edits, params=leaves[2]), metric)  # type: ignore[operator]
    return torch.autograd.grad(out, leaves, torch.ones_like(out) if weights is None else weights)
