"""Images, sequences of edits and the reference's answers to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import reference.editing as reference
import torch
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS

STENCILS = [EditOp.SHARPNESS, EditOp.BLUR, EditOp.EDGE]
POINTWISE = [op for op in EDIT_OPERATORS if op not in STENCILS]
OPERATORS = list(EDIT_OPERATORS)
CHAIN = [EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.COLOR_CURVE, EditOp.TONE_CURVE]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@dataclass
class Edits:
    """The arguments of apply_edits after the images."""

    ops: Tensor
    params: Tensor
    masks: Tensor | None = None
    mask_index: Tensor | None = None
    exclusive: Tensor | None = None

    def to(self, device: torch.device) -> Edits:
        return Edits(**{name: value if value is None else value.to(device) for name, value in vars(self).items()})

    def on(self, images: Tensor, **options: str) -> Tensor:
        return ldie_ext.apply_edits(images, **vars(self), **options)  # type: ignore[arg-type]


def random_row(op: EditOp, inside: float = 1.0) -> Tensor:
    """Parameters anywhere between their limits, or nearer to the middle."""
    if op not in EDIT_OPERATORS:
        return torch.zeros(NUM_PARAMETERS)
    operator = EDIT_OPERATORS[op]
    middle, half = (operator.low + operator.high) / 2, (operator.high - operator.low) / 2 * inside
    return operator.row(middle + half * (2 * torch.rand(operator.parameters) - 1))


def sequences(ops: list[list[EditOp]], inside: float = 1.0) -> Edits:
    params = torch.stack([torch.stack([random_row(op, inside) for op in steps]) for steps in ops])
    return Edits(torch.tensor(ops), params)


def masked(edits: Edits, height: int, width: int, *, soft: bool, count: int = 3) -> Edits:
    """With masks in all but some steps, half of them exclusive; soft ones have pixels that are all in or out."""
    masks = (torch.rand(count, height, width) * 2 - 0.5).clamp(0, 1) if soft else torch.rand(count, height, width) < 0.5
    index = torch.randint(-1, count, edits.ops.shape)
    return Edits(edits.ops, edits.params, masks, index, torch.rand(edits.ops.shape) < 0.5)


def expected(images: Tensor, edits: Edits) -> Tensor:
    """The reference's result in float64, for images [B, 3, H, W] in [0, 1]."""
    computed = torch.float64 if images.dtype == torch.float64 else torch.float32
    results = []
    for b, image in enumerate(images.double().numpy()):
        steps = []
        for k, op in enumerate(edits.ops[b].tolist()):
            mask = None
            if edits.masks is not None and edits.mask_index is not None and edits.mask_index[b, k] >= 0:
                mask = edits.masks[edits.mask_index[b, k]].to(computed).double().numpy()
                if edits.exclusive is not None and edits.exclusive[b, k]:
                    mask = 1 - mask
            steps.append((EditOp(op).name, edits.params[b, k].to(computed).double().numpy(), mask))
        results.append(reference.apply_edits(image, steps))
    return torch.from_numpy(np.stack(results)) if results else images.double()


def cube(side: int) -> Tensor:
    """Every colour of a grid over the RGB cube, [1, 3, side, side * side]."""
    axis = torch.linspace(0, 1, side)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).reshape(1, 3, side, -1)
