# SPDX-License-Identifier: Apache-2.0
"""Runs of a system on two ranks beside one process with the doubled batch; what systems share of that test."""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from itertools import islice
from pathlib import Path

import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.log import MEASURED, read_log
from ldie.sampling import ShuffledSampler
from ldie.tasks.detection import build_shapes
from systems.changed_data import Content, change_file


def train_on_two_ranks(script: Path, data: Path, folder: Path, runs: dict[str, dict]) -> None:
    """Runs a script by torchrun; it trains each of the runs on the data, into a folder of its name in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(script), str(data), str(folder), json.dumps(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def data_and_runs(
    folder: Path, script: str, images: int, empty: Collection[int], runs: dict[str, dict]
) -> tuple[Path, Path]:
    """The folder of data of which some images are empty, and that of the runs that two ranks made on it."""
    data = shapes_of_which_some_are_empty(folder / "shapes", images, empty)
    train_on_two_ranks(Path(script), data, folder / "two", runs)
    return data, folder / "two"


def shapes_of_which_some_are_empty(root: Path, images: int, empty: Collection[int]) -> Path:
    """Generated data whose training images of these ids have no objects."""
    data = build_shapes(root, train=images, val=2, size=64)

    def clear(content: Content) -> None:
        content["annotations"] = [item for item in content["annotations"] if item["image_id"] not in empty]

    change_file(data / "annotations" / "instances_train2017.json", clear)
    return data


def steps_apart(images: int, empty: Collection[int], steps: int) -> int:
    """In how many of the first steps, of two images a rank, one rank alone is without objects."""
    ranks = [
        [
            key.index + 1 not in empty
            for key in islice(ShuffledSampler(images, seed=0, rank=rank, world_size=2), 2 * steps)
        ]
        for rank in (0, 1)
    ]
    objects = [[any(rank[2 * step : 2 * step + 2]) for step in range(steps)] for rank in ranks]
    return sum(a != b for a, b in zip(*objects))


def assert_learned_the_same(two: Path, alone: Path) -> None:
    """Compares the work folders of two ranks and of one process: weights, metrics and the terms of every step."""
    ranks, one = (checkpoint.load_weights(checkpoint.newest(folder)) for folder in (two, alone))
    assert one[1].keys() == ranks[1].keys()
    assert {value.dtype for value in one[1].values() if value.is_floating_point()} == {torch.float64}
    torch.testing.assert_close(ranks[1], one[1], rtol=0, atol=1e-8)
    assert ranks[0].metrics == pytest.approx(one[0].metrics, abs=1e-8)
    for ours, expected in zip(_losses(two), _losses(alone), strict=True):
        assert ours == pytest.approx(expected, rel=1e-5, abs=1e-6)  # means over ranks are taken in float32


def _losses(folder: Path) -> list[dict[str, float]]:
    """The terms of every step."""
    records = [record for record in read_log(folder / "log.jsonl") if record["kind"] == "train"]
    return [{name: value for name, value in record.items() if name not in ("kind", *MEASURED)} for record in records]
