# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_sums.py: trains the sums on two gloo ranks, with half the batch on each.

Argument: work folder.
"""

import dataclasses
import sys
from pathlib import Path

import torch
from engine.sums import ACCUMULATE, SYSTEM, SumsConfig, SumsModel, SumsRecipe
from ldie.config import override
from ldie.engine import distributed
from ldie.engine.trainer import Trainer

CPU = torch.device("cpu")


class ExactModel(SumsModel):
    """In float64."""

    @classmethod
    def from_config(cls, config, facts):
        return super().from_config(config, facts).double()


class ExactRecipe(SumsRecipe):
    """SGD, and all randomness keyed by the sample: no batch comes again by a draw of the rank's own."""

    def __init__(self, model, config, runtime):
        super().__init__(model, config, runtime)
        self._optimizers["head"] = torch.optim.SGD(model.head.parameters(), config.solver.lr, momentum=0.9)

    def train_step(self, batch, step):
        words, head = self._optimizers.values()
        loss = (self.model(batch["tokens"]) - batch["answers"].double()).square().mean()
        self.runtime.gradients(words, loss / ACCUMULATE, retain_graph=True, accumulate=step % ACCUMULATE > 0)
        self.runtime.update(head, loss)
        if step % ACCUMULATE == ACCUMULATE - 1:
            self.runtime.apply(words)
        return {"loss": loss.detach()}


def train(work_dir: Path, batch_size: int) -> dict[str, float]:
    config = override(SumsConfig(), [f"solver.batch_size={batch_size}", "solver.max_iter=20", "solver.lr=0.01"])
    config = dataclasses.replace(config, output_dir=str(work_dir))
    system = dataclasses.replace(SYSTEM, model=ExactModel, recipe=ExactRecipe)
    with distributed.first_rank_first():
        system.task.prepare(config)
    return Trainer(system, config, *system.task.open(config, ["train", "val"]), CPU).run()


if __name__ == "__main__":
    with distributed.process_group(CPU):
        train(Path(sys.argv[1]), batch_size=3)
