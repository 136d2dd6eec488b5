# SPDX-License-Identifier: Apache-2.0
"""Learning rates as a function of the step alone, so that a resume needs no scheduler state."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from ldie.config import SolverConfig


def lr_factor(solver: SolverConfig, step: int) -> float:
    """What the initial learning rates are multiplied by in the step after ``step`` steps.

    Example:
        >>> lr_factor(SolverConfig(lr_schedule="step", lr_decay=(10, 20)), 10)
        0.1
    """
    factor = _warmup(solver, step)
    if solver.lr_schedule == "cosine":
        return factor * 0.5 * (1.0 + math.cos(math.pi * min(step, solver.max_iter) / solver.max_iter))
    return factor * solver.lr_gamma ** sum(step >= decay for decay in solver.lr_decay)


def _warmup(solver: SolverConfig, step: int) -> float:
    if step >= solver.warmup_iter:
        return 1.0
    if solver.warmup_factor is None:
        return (step + 1) / solver.warmup_iter
    return solver.warmup_factor + (1.0 - solver.warmup_factor) * step / solver.warmup_iter


def set_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Sets every group's rate to ``factor`` times the one it was created with."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
