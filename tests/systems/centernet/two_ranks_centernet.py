# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_two_ranks.py: CenterNet through all phases on two gloo ranks, half the batch on each.

Arguments: folder of the data, folder for the work folders, settings of each run as JSON.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from ldie.engine import distributed
from ldie.engine.trainer import Trainer
from ldie.systems.centernet import SYSTEM, CenterNet, CenterNetRecipe
from ldie.tasks.detection import CocoDataset
from systems.centernet.helpers import small_config

CPU = torch.device("cpu")


class ExactModel(CenterNet):
    """In float64."""

    @classmethod
    def from_config(cls, config, facts):
        return super().from_config(config, facts).double()

    def extract(self, images):
        return super().extract([image.double() for image in images])

    def forward(self, images):
        return super().forward([image.double() for image in images])


class ExactRecipe(CenterNetRecipe):
    """SGD, in float64."""

    def __init__(self, model, config, runtime):
        super().__init__(model, config, runtime)
        self._optimizers = {
            name: torch.optim.SGD(optimizer.param_groups[0]["params"], 0.01, momentum=0.9)
            for name, optimizer in self._optimizers.items()
        }

    def collate(self, items):
        return [dataclasses.replace(scale, boxes=scale.boxes.double()) for scale in super().collate(items)]


def train(data: Path, work_dir: Path, batch_size: int, model: dict, solver: dict) -> None:
    parts = {"detector": {"init_train_iter": 7}, "discriminator": {"init_train_iter": 6}}
    solver = {"batch_size": batch_size, "max_iter": 20, "log_step": 1, **parts, **solver}
    config = dataclasses.replace(small_config(model=model, solver=solver), output_dir=str(work_dir))
    system = dataclasses.replace(SYSTEM, model=ExactModel, recipe=ExactRecipe)
    Trainer(system, config, *(CocoDataset(data, split) for split in ("train2017", "val2017")), CPU).run()


if __name__ == "__main__":
    with distributed.process_group(CPU):
        for name, sections in json.loads(sys.argv[3]).items():
            train(Path(sys.argv[1]), Path(sys.argv[2]) / name, 2, **sections)
