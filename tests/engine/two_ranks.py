# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_distributed.py: trains the toy system on two gloo ranks and reports what each one saw.

It trains eight steps in one go (work folder ``straight``), and four and then the rest (work folder ``resumed``), with
averaged weights.
Arguments: data folder, folder for the work folders.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import ClassVar
from unittest import mock

import torch
from engine.toy import SYSTEM, ToyConfig, ToyRecipe
from ldie.config import merge, override
from ldie.engine import distributed
from ldie.engine.trainer import Trainer
from torch import nn

CPU = torch.device("cpu")


class Recorder(ToyRecipe):
    """The toy's recipe; remembers its loss values."""

    seen: ClassVar[list[float]] = []

    def train_step(self, batch, step):
        terms = super().train_step(batch, step)
        self.seen.append(terms["box_loss"].item())
        return terms


def average_some_gradients() -> list[list[float] | None]:
    """Rank 0 has gradients for the first two of four parameters, rank 1 for the first and the third."""
    rank = distributed.rank()
    params = [nn.Parameter(torch.zeros(2)) for _ in range(4)]
    params[0].grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    params[1 + rank].grad = torch.tensor([4.0, 6.0])
    distributed.average_gradients(params)
    return [None if p.grad is None else p.grad.tolist() for p in params]


def average_in_buckets() -> bool:
    """Whether gradients of two types, in many buckets, become means, keep their layout and are not waited for."""
    generator = torch.Generator().manual_seed(distributed.rank())
    params = [nn.Parameter(torch.zeros(4, 3, 2, 2)) for _ in range(5)] + [nn.Parameter(torch.zeros(3).double())]
    gradients = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in params]
    expected = [sum(parts) / 2 for parts in zip(*distributed.gather(gradients))]
    for p, gradient in zip(params, gradients):
        p.grad = gradient.to(memory_format=torch.channels_last) if gradient.ndim == 4 else gradient
    strides = [p.grad.stride() for p in params]
    with mock.patch.object(distributed, "BUCKET_BYTES", 400), mock.patch.object(torch.Tensor, "tolist", None):
        distributed.average_gradients(params)
    return all(
        torch.equal(p.grad, mean) and p.grad.stride() == stride for p, mean, stride in zip(params, expected, strides)
    )


def thread_names() -> list[str]:
    """Of this process, where the system tells."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def train(data_dir: str, work_dir: Path, steps: int, resume: bool = False) -> tuple[dict, list[list[float]]]:
    """Metrics and weights after ``steps`` steps."""
    config = override(ToyConfig(), ["solver.batch_size=2", f"solver.max_iter={steps}", "solver.ema_decay=0.5"])
    config = dataclasses.replace(config, output_dir=str(work_dir))
    config = merge(config, {"dataset": {"root": data_dir}})
    system = dataclasses.replace(SYSTEM, recipe=Recorder)
    trainer = Trainer(system, config, *system.task.open(config, ["train2017", "val2017"]), CPU, resume)
    metrics = trainer.run()
    return metrics, [p.flatten().tolist() for p in trainer.model.parameters()]


def main() -> None:
    data_dir, out = sys.argv[1], Path(sys.argv[2])
    with distributed.process_group(CPU):
        metrics, weights = train(data_dir, out / "straight", steps=8)
        losses = list(Recorder.seen)
        train(data_dir, out / "resumed", steps=4)
        _, resumed_weights = train(data_dir, out / "resumed", steps=8, resume=True)
        report = {
            "gradients": average_some_gradients(),
            "buckets": average_in_buckets(),
            "metrics": metrics,
            "losses": losses,
            "weights": weights,
            "resumed_weights": resumed_weights,
            "ranks": distributed.gather(distributed.rank()),
        }
        rank, during = distributed.rank(), thread_names()
    report["threads"] = {"during": during, "after": thread_names()}
    (out / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
