# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_two_ranks.py: a mask pyramid on two gloo ranks, half the batch on each.

Arguments: folder of the data, folder for the work folders, settings of each run as JSON.
"""

import copy
import dataclasses
import json
import sys
from pathlib import Path
from unittest import mock

import torch
from engine.two_ranks import thread_names
from ldie.engine import distributed
from ldie.engine.trainer import Trainer
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramid, losses
from ldie.systems.mask_pyramid.truth import make_truth
from ldie.tasks.detection import CocoDataset
from ldie.tasks.detection.batches import network_input
from systems.mask_pyramid.helpers import CPU, small_config

STEPS = 12


class ExactModel(MaskPyramid):
    """Learns in float64; finds objects in float32."""

    @classmethod
    def from_config(cls, config, facts):
        return super().from_config(config, facts).double()

    def predict(self, inputs):
        return MaskPyramid.predict(copy.deepcopy(self).float(), inputs)

    def pictures(self, images):
        return MaskPyramid.pictures(copy.deepcopy(self).float(), images)


def exact_input(*args):
    """Images in float64."""
    return network_input(*args).double()


def exact_truth(*args):
    """Targets in float64."""
    truth = make_truth(*args)
    return dataclasses.replace(truth, targets=[level.double() for level in truth.targets])


def train(data: Path, work_dir: Path, batch_size: int, networks: dict, solver: dict) -> None:
    """SGD of a rate at which the steps change what is found."""
    sgd = {"optimizer": "sgd", "lr": 0.02, "warmup_iter": 4, "max_iter": STEPS, "log_step": 1, "batch_size": batch_size}
    config = small_config(model=networks, solver={**sgd, **solver}, dataset={"root": str(data)})
    config = dataclasses.replace(config, output_dir=str(work_dir))
    system = dataclasses.replace(SYSTEM, model=ExactModel)
    sets = (CocoDataset(data, split) for split in ("train2017", "val2017"))
    with (
        mock.patch.object(losses, "network_input", exact_input),
        mock.patch.object(losses, "make_truth", exact_truth),
    ):
        Trainer(system, config, *sets, CPU).run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(CPU):
        for name, sections in json.loads(sys.argv[3]).items():
            train(Path(sys.argv[1]), Path(sys.argv[2]) / name, 2, **sections)
    assert not any("gloo" in name for name in thread_names())  # what trained is gone, and the process group with it
