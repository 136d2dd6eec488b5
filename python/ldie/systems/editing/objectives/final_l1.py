# SPDX-License-Identifier: Apache-2.0
"""The distance between what an episode ends with and the target."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

from ldie.systems.editing.batch import EditBatch
from ldie.systems.editing.episode import drawn, run_episode
from ldie.systems.editing.objectives.objective import Objective


class FinalL1(Objective):
    """Mean absolute difference of the episode's last picture from the target (T2ONet's L1, arXiv:2106.13156).

    Operators are drawn, and the gradient goes through the parameters of all steps and the pictures between them; the
    draws themselves are not learned from.
    """

    def train_step(self, batch: EditBatch, editor: Optimizer) -> dict[str, Tensor]:
        """See :meth:`Objective.train_step`."""
        solver = self.config.solver
        with self.runtime.autocast():
            episode = run_episode(
                self.model,
                batch.source.float() / 255,
                batch.regions,
                self.model.read(batch.words),
                drawn(solver.explore),
            )
            loss = (episode.result - batch.target.float() / 255).abs().mean()
        self.runtime.update(editor, loss, solver.gradient_clip)
        return {"l1_loss": loss.detach()}
