# SPDX-License-Identifier: Apache-2.0
"""Reverse edits: the parameter found is the best one, and comes as near as the operator can."""

from __future__ import annotations

import pytest
import torch
from ldie.errors import ConfigError
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.reverse import REVERSES, reverse_edit
from ldie.tasks.editing.synedit.synedit_pairs import MAGNITUDES
from ldie.tasks.editing.synedit.synedit_scene import synedit_scene
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

STRENGTHS = [(op, value) for op in REVERSES for value in MAGNITUDES[op]]


def edited(picture: Tensor, op: EditOp, value: float) -> Tensor:
    row = EDIT_OPERATORS[op].row(value)
    return ldie_ext.apply_edits(picture[None], torch.tensor([[op]]), row[None, None], layout="hwc")[0]


def distance(picture: Tensor, original: Tensor, op: EditOp, value: float) -> float:
    """In levels; the reverse's picture is not rounded."""
    row = EDIT_OPERATORS[op].row(value)[None, None]
    result = ldie_ext.apply_edits(picture.permute(2, 0, 1)[None].double() / 255, torch.tensor([[op]]), row)
    return float((255 * result[0].permute(1, 2, 0) - original.double()).square().mean().sqrt())


@pytest.mark.parametrize(("op", "value"), STRENGTHS)
def test_no_other_parameter_comes_nearer(op: EditOp, value: float) -> None:
    original = synedit_scene(Draws(3), 64).image
    picture = edited(original, op, value)
    reverse = reverse_edit(picture, original, op)
    assert reverse.op == REVERSES[op]
    assert reverse.before == pytest.approx(distance(picture, original, reverse.op, 0.0), rel=1e-5)
    assert reverse.after == pytest.approx(distance(picture, original, reverse.op, reverse.param), rel=1e-4)
    assert reverse.after < 0.9 * reverse.before
    operator = EDIT_OPERATORS[reverse.op]
    for other in (operator.low + (operator.high - operator.low) * i / 200 for i in range(201)):
        assert distance(picture, original, reverse.op, other) > reverse.after - 1e-4


def test_the_parameter_is_that_of_the_formula() -> None:
    """V (1 - 0.4) comes back by 1 / 0.6 - 1, but for the rounding, where nothing is clipped."""
    original = synedit_scene(Draws(8), 64).image // 2
    reverse = reverse_edit(edited(original, EditOp.BRIGHTNESS, -0.4), original, EditOp.BRIGHTNESS)
    assert reverse.param == pytest.approx(1 / 0.6 - 1, abs=2e-3) and reverse.after < 0.6


def test_what_was_not_edited_needs_nothing() -> None:
    original = synedit_scene(Draws(8), 32).image
    reverse = reverse_edit(original, original, EditOp.CONTRAST)
    assert reverse.before == 0 and abs(reverse.param) < 1e-4 and reverse.after < 0.01


def test_what_cannot_be_is_one_line() -> None:
    picture = torch.zeros(4, 5, 3, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"^op must be one of BRIGHTNESS, CONTRAST, BLUR, SHARPNESS, .* got HUE"):
        reverse_edit(picture, picture, EditOp.HUE)
    with pytest.raises(ConfigError, match="edited must be as large as the original"):
        reverse_edit(picture[:3], picture, EditOp.BRIGHTNESS)
