# SPDX-License-Identifier: Apache-2.0
"""Stretches of training in which only parts of the model learn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ldie.config import SolverConfig
from ldie.schedule import lr_factor
from ldie.systems.rcnn.config import PARTS, Part, RCNNSolver


@dataclass(frozen=True)
class Phase:
    """A stretch of training."""

    start: int
    """Its first step."""
    train: tuple[Part, ...]
    """What learns."""
    schedule: SolverConfig
    """From its first step on."""
    rate: float
    """Its learning rate over the solver's."""

    @property
    def learns_proposals(self) -> bool:
        """Whether losses of the proposals are computed."""
        return "proposal_generator" in self.train or "roi_heads" not in self.train

    @property
    def learns_objects(self) -> bool:
        """Whether losses of the heads are computed."""
        return "roi_heads" in self.train or "proposal_generator" not in self.train

    def lr_factor(self, step: int) -> float:
        """What the solver's learning rate is multiplied by after ``step`` steps of the run."""
        return self.rate * lr_factor(self.schedule, step - self.start)


def read_phases(solver: RCNNSolver) -> list[Phase]:
    """One after the other; the last one goes on to the end of the run."""
    if not solver.phases:
        return [Phase(0, PARTS, solver, 1.0)]
    phases, start = [], 0
    for number, phase in enumerate(solver.phases, start=1):
        is_last = number == len(solver.phases)
        length = max(solver.max_iter - start, 1) if is_last else phase.length
        schedule = phase.over(replace(solver, max_iter=length))
        phases.append(Phase(start, phase.train, schedule, (phase.lr or solver.lr) / solver.lr))
        start += length
    return phases


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase of the step after ``step`` steps."""
    return phases[bisect_right([phase.start for phase in phases], step) - 1]
