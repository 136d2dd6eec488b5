"""The operators' data: the native numbers, limits that starts and heads keep, rows and levels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from backends import CPU
from editing.edit_inputs import Edits, cube

from ldie_ext import EditOp, EditOperator
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS
from ldie_ext.ops.editing.fit_columns import LIMITS
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

HEADER = Path(__file__).parents[2] / "csrc" / "editing" / "edit_op.h"
OPERATORS = list(EDIT_OPERATORS.values())
operators = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.op.name)


def test_numbers_are_the_native_ones() -> None:
    block = re.search(r"enum class EditOp[^{]*\{(.*?)\}", HEADER.read_text(), re.DOTALL)
    assert block is not None
    native = [re.sub(r"(?<!^)([A-Z])", r"_\1", name).upper() for name in re.findall(r"\bk(\w+)", block[1])]
    assert [name.replace("COLOR_BACKGROUND", "COLOR_BG") for name in native] == [op.name for op in EditOp]
    assert [int(op) for op in EditOp] == list(range(len(EditOp)))
    assert f"kParameters = {NUM_PARAMETERS};" in HEADER.read_text()


def test_every_operator_has_data() -> None:
    assert list(EDIT_OPERATORS) == [op for op in EditOp if op is not EditOp.NONE]


@operators
def test_start_and_head_keep_the_limits(operator: EditOperator) -> None:
    assert operator.low <= operator.start <= operator.high
    raw = torch.linspace(-30, 30, 301)[:, None].expand(-1, operator.parameters)
    values = operator.head(raw)
    assert values.shape == raw.shape
    if operator.op in (EditOp.COLOR_CURVE, EditOp.TONE_CURVE, EditOp.COLORIZE):  # raw in the original system
        assert torch.equal(values, raw)
    else:
        slack = 0.3 if operator.op is EditOp.WHITE_BALANCE else 1e-6  # the limits of its noise are narrower
        assert float(values.min()) >= operator.low - slack
        assert float(values.max()) <= operator.high + slack


@operators
def test_start_changes_nothing(operator: EditOperator) -> None:
    if operator.op in (EditOp.COLOR_BG, EditOp.COLORIZE):
        pytest.skip("always changes the image")
    images = cube(5).to(CPU.device)
    edits = Edits(torch.tensor([[operator.op]]), operator.row()[None, None])
    torch.testing.assert_close(edits.on(images), images, rtol=0, atol=1e-6)


@operators
def test_levels(operator: EditOperator) -> None:
    for steps in (9, 10):
        levels = operator.levels(steps)
        assert float(levels[0]) == pytest.approx(operator.low)
        assert float(levels[-1]) == pytest.approx(operator.high)
        assert bool((levels[1:] > levels[:-1]).all())
        assert len(levels) == steps
    assert operator.low != -operator.high or float(operator.levels().abs().min()) > 0.09 * operator.high


def test_rows() -> None:
    balance = EDIT_OPERATORS[EditOp.WHITE_BALANCE]
    assert balance.row().tolist() == [1.0] * 3 + [0.0] * 21
    assert balance.row(torch.rand(2, 5, 3)).shape == (2, 5, NUM_PARAMETERS)
    assert EDIT_OPERATORS[EditOp.EXPOSURE].row(2).tolist() == [2.0] + [0.0] * 23
    with pytest.raises(ValueError, match="values must be 3 for WHITE_BALANCE, got 1"):
        balance.row(0.5)


def test_white_balance_keeps_the_light() -> None:
    factors = EDIT_OPERATORS[EditOp.WHITE_BALANCE].head(torch.randn(50, 3))
    torch.testing.assert_close(factors @ torch.tensor([0.27, 0.67, 0.06]), torch.ones(50), rtol=0, atol=2e-5)


@pytest.mark.parametrize("op", LIMITS, ids=lambda op: op.name)
def test_a_recipe_takes_what_a_fit_finds(op: EditOp) -> None:
    kind, (low, high) = EDIT_KINDS[op.name], LIMITS[op]
    assert kind.low <= low <= high <= kind.high
