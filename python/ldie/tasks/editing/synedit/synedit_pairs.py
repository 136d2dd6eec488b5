# SPDX-License-Identifier: Apache-2.0
"""SynEdit: random edits whose truth is known, of generated pictures and of photographs.

The same seed gives the same bytes on every machine and for any number of threads: see
:mod:`ldie.tasks.editing.synedit.draws`, and ``apply_edits`` on bytes, whose results do not depend on the CPU's
instruction set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.errors import ConfigError
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import Scene, SceneObject
from ldie.tasks.editing.synedit.synedit_scene import synedit_scene
from ldie_ext import EditOp, Recipe, apply_edits
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

MAGNITUDES: Mapping[EditOp, tuple[float, ...]] = {
    EditOp.BRIGHTNESS: (-0.4, -0.275, -0.15, 0.15, 0.275, 0.4),
    EditOp.CONTRAST: (-0.7, -0.5, -0.3, 0.3, 0.5, 0.7),
    EditOp.SATURATION: (-0.6, -0.45, -0.3, 0.3, 0.5, 0.7),
    EditOp.SHARPNESS: (0.2, 0.45, 0.7),
    EditOp.BLUR: (0.3, 0.5, 0.7),
    EditOp.HUE: (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3),
}
"""What a step's parameter can be: three levels of each sign, strong enough to be told from others' effects."""
CURVES = (EditOp.COLOR_CURVE, EditOp.TONE_CURVE)
LARGEST_LOG = 0.5
"""A curve's weights are exp(u) with u between minus this and this."""
OPERATORS = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.SHARPNESS, *CURVES)
"""Those that are drawn unless told otherwise; of :data:`DRAWN`."""
DRAWN = (*MAGNITUDES, *CURVES)


@dataclass(frozen=True)
class SynPair:
    """A picture, what some edits made of it, and the edits."""

    source: Tensor
    """uint8 [H, W, 3], RGB."""
    target: Tensor
    """uint8 [H, W, 3], what ``apply_edits`` makes of the source's bytes."""
    ops: Tensor
    """int64 [K], numbers of ``EditOp``."""
    params: Tensor
    """float32 [K, 24]."""
    masks: Tensor
    """bool [M, H, W], the visible pixels of each of the source's objects."""
    mask_index: Tensor
    """int64 [K], the object that a step is local to, -1: the whole picture."""
    exclusive: Tensor
    """bool [K], whether a step acts everywhere but on the object."""
    objects: tuple[SceneObject, ...]
    """What can be said of the M objects."""

    @property
    def recipe(self) -> Recipe:
        """The edits as a recipe, which makes the target of the source."""
        edits = self.ops, self.params, self.masks, self.mask_index, self.exclusive
        return Recipe.from_edits(*edits, source=self.source.permute(2, 0, 1))


def syn_pair(
    seed: int,
    size: int = 128,
    operators: Sequence[EditOp] = OPERATORS,
    steps: int | tuple[int, int] = (1, 3),
    local: float = 0.0,
    *,
    index: int = 0,
) -> SynPair:
    """A generated picture and a random edit of it.

    Args:
        seed: From 0 on; pairs of different seeds, or of different numbers under one seed, have nothing in common.
        size: Height and width, 32 to 1024.
        operators: Those to choose from, of :data:`DRAWN`.
        steps: How many edits, each by another operator, in random order; a pair: that many at least and at most.
        local: How likely a step is local, on one of the objects or, every other time, everywhere but on it.
        index: The pair's number under this seed.

    Raises:
        ConfigError: Something out of range.

    Example:
        >>> pair = syn_pair(7, size=64, operators=[EditOp.BRIGHTNESS, EditOp.CONTRAST], steps=2)
        >>> pair.source.shape, len(pair.ops)
        (torch.Size([64, 64, 3]), 2)
    """
    check_seed(seed, index)
    return _edited(synedit_scene(Draws(seed, index, 0), size), Draws(seed, index, 1), operators, steps, local)


def syn_edit(
    scene: Scene | Tensor,
    seed: int,
    operators: Sequence[EditOp] = OPERATORS,
    steps: int | tuple[int, int] = (1, 3),
    local: float = 0.0,
    *,
    index: int = 0,
) -> SynPair:
    """A random edit of a given picture.

    Args:
        scene: The picture uint8 [H, W, 3], or a scene where edits are to be local.
        seed: Of the edits; otherwise as for :func:`syn_pair`.
        operators: As for :func:`syn_pair`.
        steps: As for :func:`syn_pair`.
        local: As for :func:`syn_pair`; a picture without objects has no local edits.
        index: As for :func:`syn_pair`.

    Raises:
        ConfigError: Something out of range, or no uint8 picture.
    """
    check_seed(seed, index)
    if isinstance(scene, Tensor):
        if scene.dtype != torch.uint8 or scene.dim() != 3 or scene.shape[2] != 3 or scene.numel() == 0:
            raise ConfigError(f"scene must be uint8 [H, W, 3] with pixels, got {scene.dtype} {list(scene.shape)}")
        scene = Scene(scene, torch.zeros(0, *scene.shape[:2], dtype=torch.bool), ())
    return _edited(scene, Draws(seed, index, 1), operators, steps, local)


def check_choice(operators: Sequence[EditOp], steps: int | tuple[int, int], local: float) -> tuple[int, int]:
    """The least and the most number of steps.

    Raises:
        ConfigError: Operators that SynEdit does not have, more steps than operators, or no probability.
    """
    for op in operators:
        if op not in DRAWN:
            names = ", ".join(known.name for known in DRAWN)
            raise ConfigError(f"operators must be some of {names}, got {getattr(op, 'name', op)}")
    least, most = (steps, steps) if isinstance(steps, int) else steps
    if not 1 <= least <= most <= len(set(operators)):
        raise ConfigError(f"steps must be 1 to {len(set(operators))}, the number of operators, got {steps}")
    if not 0 <= local <= 1:
        raise ConfigError(f"local must be a probability from 0 to 1, got {local}")
    return least, most


def check_seed(seed: int, index: int = 0) -> None:
    """Raises a ConfigError for a seed or a pair's number that is none."""
    for name, number in (("seed", seed), ("index", index)):
        if not 0 <= number < 2**63:
            raise ConfigError(f"{name} must be a whole number from 0 to 2^63 - 1, got {number}")


def _edited(
    scene: Scene, draws: Draws, operators: Sequence[EditOp], steps: int | tuple[int, int], local: float
) -> SynPair:
    least, most = check_choice(operators, steps, local)
    chosen = draws.sample(list(dict.fromkeys(operators)), least + draws.below(most - least + 1))
    rows = torch.stack([EDIT_OPERATORS[op].row(torch.tensor(draw_params(draws, op))) for op in chosen])
    places = [_place(draws, len(scene.objects), local) for _ in chosen]
    ops, mask_index, exclusive = torch.tensor(chosen), *map(torch.tensor, zip(*places, strict=True))
    target = apply_edits(
        scene.image[None], ops[None], rows[None], scene.masks, mask_index[None], exclusive[None], layout="hwc"
    )
    return SynPair(scene.image, target[0], ops, rows, scene.masks, mask_index, exclusive, scene.objects)


def draw_params(draws: Draws, op: EditOp) -> list[float]:
    """Random parameters of an operator of :data:`DRAWN`; as many as it has.

    A curve's are rounded, as machines' exponentials differ in their last digits.
    """
    if op in MAGNITUDES:
        return [draws.pick(MAGNITUDES[op])]
    logs = draws.uniform(-LARGEST_LOG, LARGEST_LOG, EDIT_OPERATORS[op].parameters).tolist()
    return [round(math.exp(log), 4) for log in logs]


def _place(draws: Draws, objects: int, local: float) -> tuple[int, bool]:
    """The object that a step is local to, and whether it acts outside of it."""
    if draws.number(0, 1) >= local or objects == 0:
        return -1, False
    return draws.below(objects), draws.below(2) == 1
