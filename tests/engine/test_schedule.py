# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from ldie.config import SolverConfig
from ldie.engine.schedule import lr_factor, set_learning_rates


def test_step_schedule_decays_at_the_given_steps():
    solver = SolverConfig(lr_schedule="step", lr_decay=(400, 800), lr_gamma=0.1)
    factors = [lr_factor(solver, step) for step in (0, 399, 400, 799, 800)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_schedule_goes_to_zero():
    solver = SolverConfig(lr_schedule="cosine", max_iter=100)
    assert lr_factor(solver, 0) == 1.0
    assert lr_factor(solver, 50) == pytest.approx(0.5)
    assert lr_factor(solver, 99) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert lr_factor(solver, 100) == 0.0


def test_warmup_rises_linearly_to_the_schedule():
    solver = SolverConfig(warmup_iter=4)
    assert [lr_factor(solver, step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_rates_are_relative_to_those_at_creation():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizers = [torch.optim.SGD([weight], 0.5), torch.optim.Adam([weight], 0.01)]
    for factor in (0.1, 0.5):
        for optimizer in optimizers:
            set_learning_rates(optimizer, factor)
    assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == [0.25, 0.005]
