# SPDX-License-Identifier: Apache-2.0
"""A small editor and requests whose answers are known, made in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from ldie.config import merge
from ldie.systems.editing import Editor
from ldie.systems.editing.batch import EditBatch, collate, learnable
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.presets import TINY
from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.sample import EditSample, EditSequence

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

OPERATORS = (EditOp.BRIGHTNESS, EditOp.SATURATION, EditOp.TONE_CURVE)
WORDS = ("brighter", "darker", "vivid", "pale", "much", "and")
FACTS = {"operators": [op.name for op in OPERATORS], "vocabulary": list(WORDS)}
SIZE = 16


def tiny_config(**values: Any) -> EditorConfig:
    """``tiny`` made smaller still; keyword arguments are sections."""
    small = {
        "language": {"embedding": 8, "hidden": 6, "layers": 1, "dropout": 0.0},
        "image": {"size": SIZE, "widths": [4, 8], "blocks": 0, "code": 8},
        "decoder": {"embedding": 4, "max_steps": 3},
    }
    config = merge(TINY, {"model": small, "solver": {"batch_size": 4}})
    return merge(config, values)


def tiny_editor(seed: int = 0, **values: Any) -> Editor:
    """An editor with weights of a seed."""
    torch.manual_seed(seed)
    return Editor.from_config(tiny_config(**values), FACTS)


def steps(*given: tuple[EditOp, float]) -> EditSequence:
    """Scalar steps; of a curve the first weight is given, the others are 1."""
    if not given:
        return EditSequence.empty()
    rows = []
    for op, value in given:
        row = EDIT_OPERATORS[op].row()
        row[0] = value
        rows.append(row)
    return EditSequence(torch.tensor([int(op) for op, _ in given]), torch.stack(rows))


def sample(request: str, sequence: EditSequence, seed: int = 0, region: torch.Tensor | None = None) -> EditSample:
    """A random picture, and what the steps make of it."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    names = frozenset(EditOp(op).name for op in sequence.ops.tolist())
    return EditSample(f"{seed}", source, request, replayed(source, sequence, region), region, sequence, names)


def samples() -> list[EditSample]:
    """Four requests of different lengths, one in a region."""
    left = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    left[:, :8] = True
    return [
        sample("brighter", steps((EditOp.BRIGHTNESS, 0.3)), 1),
        sample("darker and vivid", steps((EditOp.BRIGHTNESS, -0.3), (EditOp.SATURATION, 0.5)), 2, left),
        sample("much pale", steps((EditOp.SATURATION, -0.6)), 3),
        sample(
            "vivid and brighter and darker",
            steps((EditOp.SATURATION, 0.4), (EditOp.TONE_CURVE, 2.0), (EditOp.BRIGHTNESS, 0.1)),
            4,
        ),
    ]


def batch(model: Editor, given: list[EditSample] | None = None) -> EditBatch:
    """Samples as the recipe makes a batch of them."""
    items = [learnable(each, model.vocabulary.encode(each.request).ids, SIZE) for each in (given or samples())]
    return collate(items, model.operators)


def without_region(each: EditSample) -> EditSample:
    """The same sample, everywhere."""
    return replace(each, region=None)
