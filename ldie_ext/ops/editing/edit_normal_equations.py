"""The native part of fit_edits: losses and normal equations of many sequences of edits in one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__: list[str] = []

#: What a sequence may have at most.
MOST_STEPS = 8

#: Pixels side by side that are visited together.
RUN_PIXELS = 128


class NormalEquations(NamedTuple):
    """Sums over the visited pixels, float64; N columns, of which a sequence uses the first few."""

    losses: Tensor  # [B, P]
    distances: Tensor  # [B, P], of |r|
    gradients: Tensor  # [B, P, N], J^T W r
    hessians: Tensor  # [B, P, N, N], J^T W J


@dataclass(frozen=True)
class Candidates:
    """Sequences of edits, P for each pair of images, and the residuals' size from which on the loss is linear.

    Attributes:
        images, targets: float32 or float64 [B, 3, H, W].
        ops: int64 [B, P, K].
        masks: bool or of the images' dtype [M, H, W].
        mask_index, exclusive: [B, P, K].
        threshold: of the Huber loss; infinity: squares alone.
        stencils: whether some may be.
    """

    images: Tensor
    targets: Tensor
    ops: Tensor
    masks: Tensor | None
    mask_index: Tensor | None
    exclusive: Tensor | None
    threshold: float
    stencils: bool = True

    def repeated(self, count: int) -> Candidates:
        """Each sequence so many times, one beside the other."""
        index = None if self.mask_index is None else self.mask_index.repeat_interleave(count, 1)
        exclusive = None if self.exclusive is None else self.exclusive.repeat_interleave(count, 1)
        ops = self.ops.repeat_interleave(count, 1)
        return replace(self, ops=ops, mask_index=index, exclusive=exclusive)

    @property
    def values(self) -> int:
        """Of one image: pixels times channels."""
        return self.images[0].numel() if len(self.images) else 0

    def equations(self, params: Tensor, active: Tensor, stride: int, columns: int) -> NormalEquations:
        """Those of params [B, P, K, 24] on every stride-th run of pixels; zeros where not active, bool [B, P].

        With no columns there are losses and distances alone.
        """
        tensors = (self.images, self.targets, self.ops, params.to(self.images.dtype))
        masks = (self.masks, self.mask_index, self.exclusive)
        options = (self.stencils, stride, columns, self.threshold)
        return NormalEquations(*_library.ops.edit_normal_equations(*tensors, *masks, active, *options))


def _fake(
    images: Tensor,
    targets: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None,
    mask_index: Tensor | None,
    exclusive: Tensor | None,
    active: Tensor,
    stencils: bool,
    stride: int,
    columns: int,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    size = (ops.shape[0], ops.shape[1])
    sizes = (size, size, (*size, columns), (*size, columns, columns))
    losses, distances, gradients, hessians = (images.new_empty(each, dtype=torch.float64) for each in sizes)
    return losses, distances, gradients, hessians


register("edit_normal_equations", fake=_fake)
