# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_sums.py: trains the sums on two gloo ranks, with half the batch on each.

Arguments: work folder, name of the recipe, size of the batches, how many of them make up a step.
"""

import dataclasses
import sys
from pathlib import Path

import torch
from engine.sums import ACCUMULATE, SYSTEM, SumsConfig, SumsModel, SumsRecipe
from engine.two_ranks import thread_names
from ldie.config import override
from ldie.engine import distributed
from ldie.engine.trainer import Trainer
from torch.nn.parallel import DistributedDataParallel

CPU = torch.device("cpu")


class ExactModel(SumsModel):
    """In float64."""

    @classmethod
    def from_config(cls, config, facts):
        return super().from_config(config, facts).double()


class ExactRecipe(SumsRecipe):
    """Two optimizers on one graph, both SGD; all draws keyed by the sample: no batch comes again by a rank's own."""

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


class OneGraphRecipe(SumsRecipe):
    """One optimizer, one forward and one backward: DistributedDataParallel averages its gradients."""

    def __init__(self, model, config, runtime):
        super().__init__(model, config, runtime)
        self._optimizers = {"all": torch.optim.SGD(model.parameters(), config.solver.lr, momentum=0.9)}
        self.replica = runtime.replicate(model)
        assert isinstance(self.replica, DistributedDataParallel) == (runtime.world_size > 1)

    def train_step(self, batch, step):
        loss = (self.replica(batch["tokens"]) - batch["answers"].double()).square().mean()
        self.runtime.update(self._optimizers["all"], loss, clip=1.0)
        return {"loss": loss.detach()}


RECIPES = {"two optimizers": ExactRecipe, "one graph": OneGraphRecipe}


def train(work_dir: Path, recipe: str, batch_size: int, accumulate: int = 1) -> dict[str, float]:
    settings = [f"solver.batch_size={batch_size}", f"solver.accumulate={accumulate}"]
    config = override(SumsConfig(), [*settings, "solver.max_iter=20", "solver.lr=0.01"])
    config = dataclasses.replace(config, output_dir=str(work_dir))
    system = dataclasses.replace(SYSTEM, model=ExactModel, recipe=RECIPES[recipe])
    with distributed.first_rank_first():
        system.task.prepare(config)
    return Trainer(system, config, *system.task.open(config, ["train", "val"]), CPU).run()


if __name__ == "__main__":
    with distributed.process_group(CPU):
        train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    assert not any("gloo" in name for name in thread_names())
