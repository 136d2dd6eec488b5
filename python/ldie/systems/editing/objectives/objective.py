# SPDX-License-Identifier: Apache-2.0
"""The interface of objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ldie.contract import Runtime
from ldie.systems.editing.batch import EditBatch
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.model import Editor


class Objective(ABC):
    """Learning from episodes.

    Args:
        model: On its device.
        config: Its configuration.
        runtime: Device, precision, optimizer steps.
    """

    def __init__(self, model: Editor, config: EditorConfig, runtime: Runtime) -> None:
        self.model = model
        self.config = config
        self.runtime = runtime

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """Those of its own, beside the editor's; none by default."""
        return {}

    def is_due(self, step: int) -> bool:
        """Whether the step after ``step`` steps is this objective's, or learns from known steps: by turns."""
        return step % 2 == 1

    @abstractmethod
    def train_step(self, batch: EditBatch, editor: Optimizer) -> dict[str, Tensor]:
        """One step of the editor and of what learns with it.

        Args:
            batch: On the device.
            editor: The optimizer of the editor's networks.

        Returns:
            Terms to log, detached.
        """

    def resume_state(self) -> dict[str, Any]:
        """See :meth:`ldie.contract.Recipe.resume_state`."""
        return {}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (a hook)
        """Takes over what :meth:`resume_state` gave."""
