# SPDX-License-Identifier: Apache-2.0
"""Discrete parameters: their levels, how known parameters become levels, how levels are learned and edited with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ldie.errors import ConfigError
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.heads import CURVES, DiscreteHeads
from ldie.systems.editing.presets import TINY
from torch import nn

from ldie_ext import EditOp, apply_edits
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

OPERATORS = tuple(EDIT_OPERATORS)
TOKENS = torch.arange(1, len(OPERATORS) + 1)


@pytest.fixture
def heads() -> DiscreteHeads:
    torch.manual_seed(0)
    return DiscreteHeads(8, OPERATORS, "full", 10)


def token(op: EditOp) -> torch.Tensor:
    return torch.tensor([OPERATORS.index(op) + 1])


def test_levels_are_those_of_the_operator(heads):
    for op in OPERATORS:
        if op in CURVES:
            expected = torch.tensor([2.0]).log() * torch.linspace(-1, 1, 10)
            expected = expected.exp()
        elif op is EditOp.SATURATION:
            expected = torch.tensor([-1, -0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8, 1])
        else:
            expected = EDIT_OPERATORS[op].levels(10)
        torch.testing.assert_close(heads.values[token(op)][0], expected)
    legacy = DiscreteHeads(8, [EditOp.SATURATION], "legacy", 6)
    torch.testing.assert_close(legacy.values[1], torch.linspace(-0.2, 0.8, 6))


def test_what_levels_mean_has_these_levels_nearest(heads):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(10, (len(OPERATORS), heads.most), generator=generator)
    for row, op in enumerate(OPERATORS):
        if op in CURVES:  # one whose logarithms have no mean is its own representative
            levels[row] = torch.tensor([0, 9, 3, 6, 4, 5, 8, 1]).repeat(3)
    params = heads.parameters_at(levels, TOKENS)
    used = heads.used(TOKENS)
    assert torch.equal(heads.nearest(params, TOKENS)[used], levels[used])
    assert used.sum(1).tolist() == [EDIT_OPERATORS[op].parameters for op in OPERATORS]
    assert not params[:, : heads.most][~used].any()


def test_a_known_parameter_becomes_the_level_that_is_nearest(heads):
    rows = torch.zeros(4, 24)
    rows[:, 0] = torch.tensor([0.55, -0.05, 7.0, 0.71])
    found = (
        heads.values[token(EditOp.CONTRAST)]
        .expand(4, -1)
        .gather(1, heads.nearest(rows, token(EditOp.CONTRAST).expand(4))[:, :1])
    )
    torch.testing.assert_close(found[:, 0], torch.tensor([0.6, -0.2, 1.0, 0.8]))


@pytest.mark.parametrize("op", CURVES)
def test_a_curve_is_what_it_does_whatever_its_weights_are_multiplied_by(heads, op):
    count = EDIT_OPERATORS[op].parameters
    weights = 0.8 + 0.5 * torch.rand(1, count)
    factors = torch.tensor([0.2, 1.0, 30.0])[: count // 8].repeat_interleave(8)
    scaled = nn.functional.pad(weights * factors, (0, 24 - count))
    weights = nn.functional.pad(weights, (0, 24 - count))
    image = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(*(apply_edits(image, torch.tensor([[op]]), row[:, None]) for row in (weights, scaled)))
    levels = heads.nearest(weights, token(op))
    assert torch.equal(levels[:, :count], heads.nearest(scaled, token(op))[:, :count])
    near = heads.parameters_at(levels, token(op))
    ratio = (near[0, :count] / weights[0, :count]).log().view(-1, 8)
    half = 0.6932 / 9 + 1e-4
    assert (ratio.amax(1) - ratio.amin(1) < 2 * half).all()  # each within half a level of the same multiple


def test_likeliest_levels_and_cross_entropy(heads):
    x, tokens = torch.randn(5, 8), torch.tensor([0, 1, 4, 5, 9])
    log_probs = heads.log_probs(x, tokens)
    assert torch.equal(heads(x, tokens), heads.parameters_at(log_probs.argmax(2), tokens))
    params = torch.rand(5, 24)
    errors, nearest = heads.errors(x, tokens, params), heads.nearest(params, tokens)
    assert errors[0] == 0 and not heads(x, tokens)[0].any()
    for row in range(1, 5):
        op = OPERATORS[tokens[row] - 1]
        logits = heads.networks[op.name](x[row]).view(-1, 10)
        expected = nn.functional.cross_entropy(logits, nearest[row, : EDIT_OPERATORS[op].parameters])
        torch.testing.assert_close(errors[row], expected)


@pytest.mark.parametrize(("training", "levels", "wanted"), [
    ("reinforce", 0, "at least 2"), ("reinforce", 1, "at least 2"), ("supervised", 1, "0 or at least 2"), ("l1", 8, "0")
])  # fmt: skip
def test_levels_that_do_not_fit_how_it_learns(training, levels, wanted):
    with pytest.raises(ConfigError, match=rf"levels must be {wanted} for solver.training={training}, got {levels}"):
        configured(training, levels).check()


@pytest.mark.parametrize(("training", "levels"), [("reinforce", 2), ("supervised", 2), ("supervised", 0)])
def test_levels_that_fit(training, levels):
    configured(training, levels).check()


def configured(training: str, levels: int) -> EditorConfig:
    decoder = replace(TINY.model.decoder, levels=levels)
    return replace(TINY, model=replace(TINY.model, decoder=decoder), solver=replace(TINY.solver, training=training))
