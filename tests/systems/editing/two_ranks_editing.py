# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_two_ranks.py: the editor on two gloo ranks, half the batch on each.

Arguments: folder of the data, folder for the work folders, settings of each run as JSON.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from ldie.config import merge
from ldie.engine import distributed
from ldie.engine.trainer import Trainer
from ldie.systems.editing import SYSTEM, Editor, EditorRecipe
from ldie.systems.editing.batch import EditBatch, EditItem
from systems.editing.helpers import tiny_config

CPU = torch.device("cpu")


class ExactEditor(Editor):
    """In float64, and without pictures, whose batch normalisation sees one rank's alone."""

    @classmethod
    def from_config(cls, config, facts):
        return super().from_config(config, facts).double()


class ExactRecipe(EditorRecipe):
    """In float64."""

    def collate(self, items: list[EditItem]) -> EditBatch:
        batch = super().collate(items)
        return dataclasses.replace(batch, params=batch.params.double())


def train(data: Path, work_dir: Path, batch_size: int, solver: dict) -> None:
    """A few steps on generated requests of different numbers of steps."""
    given = {"max_iter": 6, "log_step": 1, "batch_size": batch_size, "warmup_iter": 0, "lr_schedule": "step", **solver}
    config = tiny_config(
        model={"image": {"enabled": False}}, solver=given,
        dataset={"cache": str(data), "count": 24, "val_count": 4, "min_count": 1},
    )  # fmt: skip
    config = dataclasses.replace(config, output_dir=str(work_dir))
    system = dataclasses.replace(SYSTEM, model=ExactEditor, recipe=ExactRecipe)
    Trainer(system, merge(config, {}), *SYSTEM.task.open(config, ("train", "val")), CPU).run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(CPU):
        for name, sections in json.loads(sys.argv[3]).items():
            train(Path(sys.argv[1]), Path(sys.argv[2]) / name, 4, **sections)
