"""Pairs of images whose edits are known, for the planning study: half generated scenes, half photographs.

The protocol, written down before anything was measured. A row of the study has 100 pairs: 50 of SynEdit's scenes of
64 x 64, and 50 photographs of COCO 2017's val2017 (those with free licences), reduced to a longest side of 96. Each
pair's edits are K different operators in random order, with SynEdit's magnitudes, all on the whole image; the target is
what ``apply_edits`` makes of the image's bytes, rounded to 8 bits at the end. What was tuned was tuned on pairs of
other seeds, and on the photographs of train2017.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ldie.tasks.editing.synedit.synedit_pairs import SynPair, syn_edit, syn_pair
from PIL import Image
from torch import Tensor

from ldie_ext import EditOp

HELD_OUT_SEED, TUNING_SEED = 150_001, 7
SCENE_SIDE, PHOTOGRAPH_SIDE = 64, 96
PHOTOGRAPHS = {HELD_OUT_SEED: "val2017", TUNING_SEED: "train2017"}


@dataclass(frozen=True)
class Row:
    """A row of the study: what edits are made of, and how often they should be found.

    Attributes:
        name: of the operators.
        operators: the edits are of these, and so are the candidates.
        steps: K, how many edits there are, and the most that a plan may have.
        least_set: the share of pairs for which the right operators should be found; None: as it is.
        least_sequence: and for which in the right order.
    """

    name: str
    operators: tuple[EditOp, ...]
    steps: int
    least_set: float | None = None
    least_sequence: float | None = None


SCALARS = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION)
FOUR = (*SCALARS, EditOp.SHARPNESS)
POINTWISE = (*SCALARS, EditOp.TONE_CURVE, EditOp.COLOR_CURVE)
ALL = (*FOUR, EditOp.TONE_CURVE, EditOp.COLOR_CURVE)
ROWS = (
    Row("brightness, contrast, saturation, sharpness", FOUR, 2, 0.95, 0.90),
    Row("brightness, contrast, saturation, sharpness", FOUR, 3, 0.95, 0.70),
    Row("brightness, contrast, saturation, both curves", POINTWISE, 2, 0.85, 0.75),
    Row("all six", ALL, 2, 0.80, 0.65),
    Row("all six", ALL, 3),
)


@dataclass(frozen=True)
class StudyPair:
    """Images float [3, H, W] and the edits between them."""

    image: Tensor
    target: Tensor
    names: tuple[str, ...]
    params: Tensor
    photograph: bool


def photographs(seed: int) -> list[Path]:
    """The photographs for the held-out or the tuning seed; none where the data are not there."""
    folder = Path(os.environ.get("LDIE_SHARED", "shared")) / "data" / "coco_free" / PHOTOGRAPHS[seed]
    return sorted(folder.glob("*.jpg"))


def pairs(row: Row, count: int, seed: int) -> Iterator[StudyPair]:
    """Pairs of a row: every other one a photograph, or generated scenes alone where there are no photographs."""
    files = photographs(seed)
    for index in range(count):
        if files and index % 2:
            reduced = _reduced(files[index // 2 % len(files)])
            made = syn_edit(reduced, seed, row.operators, row.steps, index=index)
        else:
            made = syn_pair(seed, SCENE_SIDE, row.operators, row.steps, index=index)
        yield _as_study_pair(made, bool(files) and index % 2 == 1)


def _as_study_pair(made: SynPair, photograph: bool) -> StudyPair:
    image, target = (each.permute(2, 0, 1).float() / 255 for each in (made.source, made.target))
    return StudyPair(image, target, _names(made.ops.tolist()), made.params, photograph)


def _names(ops: Sequence[int]) -> tuple[str, ...]:
    return tuple(EditOp(op).name for op in ops)


def _reduced(path: Path) -> Tensor:
    """uint8 [H, W, 3] with a longest side of PHOTOGRAPH_SIDE."""
    with Image.open(path) as photograph:
        rgb = photograph.convert("RGB")
    scale = PHOTOGRAPH_SIDE / max(rgb.size)
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    return torch.from_numpy(np.array(rgb.resize(size, Image.Resampling.BOX)))
