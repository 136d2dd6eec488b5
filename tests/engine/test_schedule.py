# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from ldie.config import OwnSchedule, SolverConfig
from ldie.schedule import lr_factor, set_learning_rates


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


@pytest.mark.parametrize("factor", [0.0, 0.001, 0.5, 1.0])
def test_warmup_with_a_factor_is_that_of_torch(factor):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    peer = torch.optim.lr_scheduler.LinearLR(optimizer, max(factor, 1e-12), total_iters=5)  # takes no zero
    for step in range(8):
        assert lr_factor(SolverConfig(warmup_iter=5, warmup_factor=factor), step) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        peer.step()


def test_warmup_multiplies_the_schedule():
    solver = SolverConfig(warmup_iter=4, warmup_factor=0.5, lr_decay=(2,))
    assert [lr_factor(solver, step) for step in range(5)] == pytest.approx([0.5, 0.625, 0.075, 0.0875, 0.1])


def test_an_optimizer_has_what_it_says_itself_and_the_solvers_rest():
    solver = SolverConfig(lr_schedule="cosine", max_iter=100, lr_decay=(50,), warmup_iter=10)
    own = OwnSchedule(lr_schedule="step", lr_decay=(), warmup_iter=0)
    assert OwnSchedule().over(solver) == solver
    assert lr_factor(own.over(solver), 99) == 1.0
    assert own.over(solver) == replace(solver, lr_schedule="step", lr_decay=(), warmup_iter=0)


def test_rates_are_relative_to_those_at_creation():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizers = [torch.optim.SGD([weight], 0.5), torch.optim.Adam([weight], 0.01)]
    for factor in (0.1, 0.5):
        for optimizer in optimizers:
            set_learning_rates(optimizer, factor)
    assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == [0.25, 0.005]
