# SPDX-License-Identifier: Apache-2.0
"""What the editor learns from its own episodes, beside the steps that are known."""

from __future__ import annotations

from ldie.contract import Runtime
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.model import Editor
from ldie.systems.editing.objectives.adversarial import Adversarial
from ldie.systems.editing.objectives.final_l1 import FinalL1
from ldie.systems.editing.objectives.objective import Objective
from ldie.systems.editing.objectives.reinforce import Reinforce

OBJECTIVES: dict[str, type[Objective]] = {
    "l1": FinalL1,
    "gan": Adversarial,
    "adapt_gan": Adversarial,
    "reinforce": Reinforce,
}
"""By ``solver.training``; ``supervised`` has none."""


def objective_of(model: Editor, config: EditorConfig, runtime: Runtime) -> Objective | None:
    """The objective that the configuration asks for."""
    kind = OBJECTIVES.get(config.solver.training)
    return None if kind is None else kind(model, config, runtime)
