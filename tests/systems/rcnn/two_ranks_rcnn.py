# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_two_ranks.py: Mask and Keypoint R-CNN on two gloo ranks, half the batch on each.

Arguments: folder of the data, folder for the work folders, settings of each run as JSON.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from engine.two_ranks import thread_names
from ldie.engine import distributed
from ldie.engine.trainer import Trainer
from ldie.systems.rcnn import RCNN, SYSTEM, RCNNRecipe
from ldie.tasks.detection import CocoDataset
from systems.rcnn.helpers import CPU, small_config

STEPS = 20


class ExactModel(RCNN):
    """In float64."""

    @classmethod
    def from_config(cls, config, facts):
        return super().from_config(config, facts).double()

    def _predict(self, images, *rest):
        return super()._predict(images.double(), *rest)


class ExactRecipe(RCNNRecipe):
    """In float64."""

    def collate(self, items):
        batch = super().collate(items)
        return dataclasses.replace(batch, boxes=batch.boxes.double())


def train(data: Path, work_dir: Path, batch_size: int, model: dict, solver: dict) -> None:
    """SGD of a rate at which 20 steps change what is proposed and found."""
    sgd = {"optimizer": "sgd", "lr": 0.02, "warmup_iter": 4, "max_iter": STEPS, "log_step": 1, "batch_size": batch_size}
    config = small_config(model=model, solver={**sgd, **solver}, dataset={"root": str(data)})
    config = dataclasses.replace(config, output_dir=str(work_dir))
    system = dataclasses.replace(SYSTEM, model=ExactModel, recipe=ExactRecipe)
    Trainer(system, config, *(CocoDataset(data, split) for split in ("train2017", "val2017")), CPU).run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(CPU):
        for name, sections in json.loads(sys.argv[3]).items():
            train(Path(sys.argv[1]), Path(sys.argv[2]) / name, 2, **sections)
    assert not any("gloo" in name for name in thread_names())  # what trained is gone, and the process group with it
